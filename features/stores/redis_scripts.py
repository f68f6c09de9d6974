"""The Lua scripts of the activity state in Redis, each of which happens at one moment, whole or not at all.

Each key of a stream has five names, which a script gets in this order:

- the sorted set of its events, by time;
- `tops`, a sorted set: the numbers of its widest buckets. A key is hot when that is there;
- `tree`, a hash of all its buckets: at `shift:number` stands `S` (split) or `U`, and the stamp;
- `sums`, a hash of what they add up to: at `shift:number` stand the stamp, a semicolon, and the content;
- `texts`, a sorted set in the order of its members: slot, length and text, then time (17 signs) and event id.

The rules of the buckets are in `features.stores.tree`. Whatever touches them follows `LIBRARY`.
"""

from __future__ import annotations

from features.stores.tree import SHIFTS, STEP

KINDS = ("events", "tops", "tree", "sums", "texts")

LIBRARY = (
    "local SHIFTS = {" + ", ".join(map(str, SHIFTS)) + "}\n"
    f"local CHILDREN = {2**STEP}\n"
    """
local function whole(number) return string.format('%.0f', number) end
local function number_at(level, time) return math.floor(time / 2 ^ SHIFTS[level]) end
local function field_of(level, number) return SHIFTS[level] .. ':' .. whole(number) end
local function is_split(value) return value and string.sub(value, 1, 1) == 'S' end

local function names_at(first)
  return {events = KEYS[first], tops = KEYS[first + 1], tree = KEYS[first + 2], sums = KEYS[first + 3],
          texts = KEYS[first + 4]}
end

local function is_hot(names) return redis.call('EXISTS', names.tops) == 1 end

local function unpacked(event)  -- its id and texts
  local identity, numbers = struct.unpack('<I4I4', event)
  local texts = string.sub(event, 9 + identity + numbers)
  return string.sub(event, 9, 8 + identity), texts == '' and {} or cjson.decode(texts)
end

local function text_at(slot, text) return slot .. ':' .. #text .. ':' .. text end
local function digits(time)  -- in the order of the times, the negative ones first
  return time < 0 and '-' .. string.format('%016.0f', time + 2 ^ 53) or '0' .. string.format('%016.0f', time)
end
local function time_of(occurrence, text)
  local time = tonumber(string.sub(occurrence, #text + 2, #text + 17))
  return whole(string.sub(occurrence, #text + 1, #text + 1) == '-' and time - 2 ^ 53 or time)
end

local function occurrences(time, event)  -- by slot, where its texts stand; false where it has none
  local identity, texts = unpacked(event)
  local found = {}
  for slot, text in ipairs(texts) do
    found[slot] = false
    if text ~= cjson.null then
      local at = text_at(slot - 1, text)
      found[slot] = {text = at, at = at .. digits(tonumber(time)) .. identity}
    end
  end
  return found
end

local function earlier(names, time, event)  -- by slot: when its texts were there last before it
  local found = {}
  for slot, each in ipairs(occurrences(time, event)) do
    found[slot] = ''
    if each then
      local before = redis.call('ZREVRANGEBYLEX', names.texts, '(' .. each.at, '[' .. each.text, 'LIMIT', 0, 1)
      found[slot] = #before > 0 and time_of(before[1], each.text) or 'never'
    end
  end
  return found
end

local function touch(names, time, stamp)
  local top = whole(number_at(1, time))
  redis.call('ZADD', names.tops, top, top)
  for level = 1, #SHIFTS do
    local field = field_of(level, number_at(level, time))
    local split = is_split(redis.call('HGET', names.tree, field))
    redis.call('HSET', names.tree, field, (split and 'S' or 'U') .. stamp)
    if not split then return end
  end
end

local function touch_all(names, time, event, stamp)  -- its place, and those of the next events with the same texts
  touch(names, time, stamp)
  for _, each in ipairs(occurrences(time, event)) do
    if each then
      local from, to = each.text .. digits(time + 1), each.text .. ':'  -- a colon comes after all digits
      local after = redis.call('ZRANGEBYLEX', names.texts, '[' .. from, '(' .. to, 'LIMIT', 0, 1)
      if #after > 0 then touch(names, tonumber(time_of(after[1], each.text)), stamp) end
    end
  end
end

local function forget_texts(names, time, event)
  for _, each in ipairs(occurrences(time, event)) do
    if each then redis.call('ZREM', names.texts, each.at) end
  end
end

local function twin(names, time, event)  -- the same event with other content: next to it, in the order of bytes
  local rank, identity = redis.call('ZRANK', names.events, event), string.sub(event, 1, 8 + struct.unpack('<I4', event))
  for at = math.max(rank - 1, 0), rank + 1 do
    local found = redis.call('ZRANGE', names.events, at, at, 'WITHSCORES')
    local same = #found > 0 and at ~= rank and string.sub(found[1], 1, #identity) == identity
    if same and tonumber(found[2]) == tonumber(time) then return found[1] end
  end
end

local function enter(names, time, event, stamp)  -- in place of what is left of it from before its name expired
  local old = redis.call('ZADD', names.events, time, event) == 1 and twin(names, time, event)
  if old then
    redis.call('ZREM', names.events, old)
    forget_texts(names, tonumber(time), old)
    if is_hot(names) then touch_all(names, tonumber(time), old, stamp) end
  end
  for _, each in ipairs(occurrences(time, event)) do
    if each then redis.call('ZADD', names.texts, 0, each.at) end
  end
end

local function drop(names, level, number)
  local field = field_of(level, number)
  local value = redis.call('HGET', names.tree, field)
  if not value then return end
  redis.call('HDEL', names.tree, field)
  redis.call('HDEL', names.sums, field)
  if is_split(value) then
    for child = number * CHILDREN, (number + 1) * CHILDREN - 1 do drop(names, level + 1, child) end
  end
end

local function cut(names, before, stamp)
  if not is_hot(names) then return end
  for _, top in ipairs(redis.call('ZRANGEBYSCORE', names.tops, '-inf', '(' .. whole(number_at(1, before)))) do
    drop(names, 1, tonumber(top))
    redis.call('ZREM', names.tops, top)
  end
  for level = 1, #SHIFTS do
    local number = number_at(level, before)
    local value = redis.call('HGET', names.tree, field_of(level, number))
    if not value then return end
    redis.call('HSET', names.tree, field_of(level, number), string.sub(value, 1, 1) .. stamp)
    if not is_split(value) then return end
    for child = number * CHILDREN, number_at(level + 1, before) - 1 do drop(names, level + 1, child) end
  end
end

local function expire_before(names, before, stamp)
  local old = redis.call('ZRANGEBYSCORE', names.events, '-inf', '(' .. before, 'WITHSCORES')
  if #old == 0 then return end
  if redis.call('EXISTS', names.texts) == 1 then
    for i = 1, #old, 2 do forget_texts(names, tonumber(old[i + 1]), old[i]) end
  end
  redis.call('ZREMRANGEBYSCORE', names.events, '-inf', '(' .. before)
  cut(names, tonumber(before), stamp)
end

local function grow(names, level, from, to, stamp)  -- buckets where there are events
  while true do
    local found = redis.call('ZRANGEBYSCORE', names.events, from, to, 'WITHSCORES', 'LIMIT', 0, 1)
    if #found == 0 then return end
    local number = number_at(level, tonumber(found[2]))
    if level == 1 then redis.call('ZADD', names.tops, whole(number), whole(number)) end
    redis.call('HSET', names.tree, field_of(level, number), 'U' .. stamp)
    from = whole((number + 1) * 2 ^ SHIFTS[level])
  end
end

local function split(names, level, number, stamp)  -- children for a bucket; returns its new value
  local field = field_of(level, number)
  local value = 'S' .. string.sub(redis.call('HGET', names.tree, field), 2)
  redis.call('HSET', names.tree, field, value)
  local from, to = number * 2 ^ SHIFTS[level], (number + 1) * 2 ^ SHIFTS[level]
  grow(names, level + 1, whole(from), '(' .. whole(to), stamp)
  return value
end

local function live(names, milliseconds)
  redis.call('PEXPIRE', names.events, milliseconds)
  redis.call('PEXPIRE', names.texts, milliseconds)
  if is_hot(names) then
    for _, name in ipairs({names.tops, names.tree, names.sums}) do redis.call('PEXPIRE', name, milliseconds) end
  end
end

local function with_earlier(names, found, rows)  -- adds time, event and `earlier` of each
  for i = 1, #found, 2 do
    rows[#rows + 1] = found[i + 1]
    rows[#rows + 1] = found[i]
    rows[#rows + 1] = earlier(names, tonumber(found[i + 1]), found[i])
  end
end

local function children_of(names, level, number)  -- level, number and value of each that is there
  local first, fields, found = number * CHILDREN, {}, {}
  for child = first, first + CHILDREN - 1 do fields[#fields + 1] = field_of(level + 1, child) end
  for i, value in ipairs(redis.call('HMGET', names.tree, unpack(fields))) do
    if value then found[#found + 1] = {level + 1, first + i - 1, value} end
  end
  return found
end
"""
)

FIND = """
-- KEYS: the names of a key, and the stored event. ARGV: most, cut, stamp, number of edges, edges, slot and text
local names, count = names_at(1), tonumber(ARGV[4])
local low, high = ARGV[5], ARGV[4 + count]
if not is_hot(names) then
  return {0, redis.call('ZRANGEBYSCORE', names.events, '(' .. low, high, 'WITHSCORES', 'LIMIT', 0, ARGV[1])}
end
local edges = {}
for i = 1, count do edges[i] = tonumber(ARGV[4 + i]) end
local rows, nodes = {}, {}

local function is_cut(first, last)
  for _, edge in ipairs(edges) do
    if edge >= first and edge < last then return true end
  end
  return false
end

local visit
visit = function(level, number, value)
  local first, last = number * 2 ^ SHIFTS[level], (number + 1) * 2 ^ SHIFTS[level] - 1
  if last <= edges[1] or first > edges[count] then return end
  if not is_cut(first, last) then
    nodes[#nodes + 1] = SHIFTS[level]
    nodes[#nodes + 1] = whole(number)
    nodes[#nodes + 1] = value
  elseif is_split(value) then
    for _, child in ipairs(children_of(names, level, number)) do visit(unpack(child)) end
  else
    local from, to = first > edges[1] and whole(first) or '(' .. low, last < edges[count] and whole(last) or high
    if redis.call('ZCOUNT', names.events, from, to) > tonumber(ARGV[2]) then
      visit(level, number, split(names, level, number, ARGV[3]))
    else
      with_earlier(names, redis.call('ZRANGEBYSCORE', names.events, from, to, 'WITHSCORES'), rows)
    end
  end
end

for _, top in ipairs(redis.call('ZRANGEBYSCORE', names.tops, number_at(1, edges[1]), number_at(1, edges[count]))) do
  visit(1, tonumber(top), redis.call('HGET', names.tree, SHIFTS[1] .. ':' .. top))
end
local newest = {}
for i = 5 + count, #ARGV, 2 do
  local text, times = text_at(ARGV[i], ARGV[i + 1]), {}
  for j = 1, count do
    local to = '(' .. text .. digits(edges[j] + 1)
    local found = redis.call('ZREVRANGEBYLEX', names.texts, to, '[' .. text, 'LIMIT', 0, 1)
    times[j] = #found > 0 and time_of(found[1], text) or 'never'
  end
  newest[#newest + 1] = times
end
return {1, rows, nodes, newest, redis.call('GET', KEYS[6])}
"""
PARTS = """
-- KEYS: the names of a key. ARGV: most, level and number of each bucket
local names, most, answers = names_at(1), tonumber(ARGV[1]), {}

local function parts(level, number)
  local field = field_of(level, number)
  local value = redis.call('HGET', names.tree, field)
  if not value then return {} end
  local kept, stamp = redis.call('HGET', names.sums, field), string.sub(value, 2) .. ';'
  if kept and string.sub(kept, 1, #stamp) == stamp then return {value, string.sub(kept, #stamp + 1)} end
  if is_split(value) then
    local children = {}
    for _, child in ipairs(children_of(names, level, number)) do
      for _, part in ipairs({SHIFTS[child[1]], whole(child[2]), child[3]}) do children[#children + 1] = part end
    end
    return {value, false, children}
  end
  local from, to = whole(number * 2 ^ SHIFTS[level]), '(' .. whole((number + 1) * 2 ^ SHIFTS[level])
  if level < #SHIFTS and redis.call('ZCOUNT', names.events, from, to) > most then return {value, false, {}} end
  local rows = {}
  with_earlier(names, redis.call('ZRANGEBYSCORE', names.events, from, to, 'WITHSCORES'), rows)
  return {value, false, {}, rows}
end

for i = 2, #ARGV, 2 do answers[#answers + 1] = parts(tonumber(ARGV[i]), tonumber(ARGV[i + 1])) end
return answers
"""
KEEP = """
-- KEYS: the names of a key. ARGV: bucket, stamp and content of each
local names = names_at(1)
for i = 1, #ARGV, 3 do
  local value = redis.call('HGET', names.tree, ARGV[i])
  if value and string.sub(value, 2) == ARGV[i + 1] then
    redis.call('HSET', names.sums, ARGV[i], ARGV[i + 1] .. ';' .. ARGV[i + 2])
  end
end
redis.call('PEXPIRE', names.sums, redis.call('PTTL', names.events))
"""
SPLIT = """
-- KEYS: the names of a key. ARGV: a new stamp, level and number of each bucket
local names = names_at(1)
for i = 2, #ARGV, 2 do
  local level, number = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local value = redis.call('HGET', names.tree, field_of(level, number))
  if value and not is_split(value) then split(names, level, number, ARGV[1]) end
end
"""
PROMOTE = """
-- KEYS: the names of a key. ARGV: a new stamp
local names = names_at(1)
if is_hot(names) then return end
redis.call('DEL', names.tree, names.sums)
grow(names, 1, '-inf', '+inf', ARGV[1])
live(names, redis.call('PTTL', names.events))
"""
CUT = """
-- KEYS: the names of a key. ARGV: the time before which events are dropped, a new stamp
expire_before(names_at(1), ARGV[1], ARGV[2])
"""
ADD = """
-- KEYS: the event, the names of each of its keys.
-- ARGV: milliseconds to live, before, stamp, bulk, payload, time and event for each key
if not redis.call('SET', KEYS[1], ARGV[5], 'NX', 'PX', ARGV[1]) then
  if ARGV[4] == '1' then  -- a mark that is set with it says that all of it is there
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    for first = 2, #KEYS, 5 do live(names_at(first), ARGV[1]) end
  end
  return 0
end
for i = 0, (#ARGV - 5) / 2 - 1 do
  local names, time, event = names_at(2 + 5 * i), tonumber(ARGV[6 + 2 * i]), ARGV[7 + 2 * i]
  enter(names, ARGV[6 + 2 * i], event, ARGV[3])
  if is_hot(names) then touch_all(names, time, event, ARGV[3]) end
  if ARGV[4] == '0' then expire_before(names, ARGV[2], ARGV[3]) end
  live(names, ARGV[1])
end
return 1
"""
CHANGE = """
-- KEYS: the event, the names of each key. ARGV: payload before and after, milliseconds to live, stamp,
-- (time and event before, time and event after) of each key, empty where it is not there
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
for i = 0, (#ARGV - 4) / 4 - 1 do
  local names, at = names_at(2 + 5 * i), 5 + 4 * i
  local old, new = ARGV[at + 1], ARGV[at + 3]
  local left = old ~= '' and redis.call('ZREM', names.events, old) == 1
  if left then forget_texts(names, tonumber(ARGV[at]), old) end
  local entered = new ~= '' and (left or ARGV[at] ~= ARGV[at + 2])
  if entered then enter(names, ARGV[at + 2], new, ARGV[4]) end
  if is_hot(names) then
    if left then touch_all(names, tonumber(ARGV[at]), old, ARGV[4]) end
    if entered then touch_all(names, tonumber(ARGV[at + 2]), new, ARGV[4]) end
  end
  if entered then live(names, ARGV[3]) end
end
return 1
"""
