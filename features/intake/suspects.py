"""What the names and values of columns give away: leaks, sentinel codes, protected and personal attributes, keys.

Pure functions. They suggest; a person decides, and so each leak comes with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GIVEN_AWAY = 0.95
"""AUC of one column alone from which it gives the label away."""

_LEAKS = {
    r"recover": "money recovered after a default",
    r"ch(ar)?ge?d?_?off": "says that the loan was charged off",
    r"writ(e|ten)_?off": "says that the loan was written off",
    r"settle": "a settlement comes after the outcome",
    r"collection_(fee|cost|recovery)": "collection comes after the outcome",
    r"(^|_)tot(al)?_(rec|pymnt|payment|paid|received)(_|$)": "what was paid back over the life of the loan",
    r"(^|_)(last|next)_(pymnt|payment|paid|credit_pull)": "the state of the account at the end of the record",
    r"out_prncp|outstanding|(^|_)balance_gross|hardship": "the state of the account at the end of the record",
    r"(^|_)(loan|mis|case|claim|final)_status": "the status at the end of the record",
    r"fraud_(scenario|type|kind|reason)|charge_?back|disputed": "found out with the outcome",
    r"(^|_)outcome|clos(e|ed|ing)_date|default(ed)?_(date|amount|at|on)": "known with the outcome only",
    r"(^|_)funded(_|$)": "what was funded is decided after the application",
    r"(^|_)true_|ground_truth": "the truth behind the label",
    r"(^|_)decision(_|$)": "an earlier decision about the same event, which scoring is to take",
    r"(^|_)(train|test)(ing)?(_row|_set|_flag)?$|^(split|fold)$": "marks the rows of somebody's split",
    r"foreclos|repossess|(^|_)lgd(_|$)|loss_(amount|given)": "known with the outcome only",
}
_LENDER = r"(^|_)(int(erest)?_?rate|(sub_?)?grade|apr|verification_status|approved_(amount|limit))(_|$)|^installment$"
_UNITS = {
    r"(^|_)(mths?|months?)(_|$)": "months",
    r"(^|_)(years?|yrs)(_|$)|(^|_)age$": "years",
    r"(^|_)days(_|$)": "days",
    r"(^|_)(hours|hrs)(_|$)": "hours",
    r"(^|_)(minutes|mins)(_|$)": "minutes",
    r"(^|_)(seconds|secs)(_|$)": "seconds",
    r"(^|_)(pct|percent|percentage)(_|$)": "percent",
    r"(^|_)ntd(_|$)": "TWD",
    r"(^|_)km(_|$)": "km",
}
_CURRENCIES = frozenset(("usd", "eur", "gbp", "chf", "jpy", "cny", "inr", "twd", "aud", "cad", "brl", "sek", "pln"))
_LABELS = (
    r"is_(default|bad|fraud)|default|defaulted|bad|fraud|charged_off|charge_off|chargeoff|good_bad|bad_good",
    r"(.*_)?(is_)?fraud(ulent)?(_flag)?|.*default(ed)?(_.*)?|.*(charged?_?off|dlqin|delinquent).*|.*bad_?(flag|loan)?",
    r"label|target|y|class|outcome|response|risk|credit_risk",
)
_EVENT_TIMES = (
    r"issue|appl|approv|transaction|(^|_)tx_|trans_|event|order|created|timestamp|datetime|opened|origination"
)
_TIMES = r"date|time|stamp|(^|_)(d|dt|ts|day|at|month)$"
_KNOWN = r"outcome|known|resolved|reported|label|confirmed"
_NOT_EVENTS = r"birth|dob|first|earliest|maturity|disburs|end_|expir|updated"
_PROTECTED = (
    r"(^|_)(sex|gender|marriage|marital|married|race|racial|ethnic\w*|religion|nationality|citizenship|foreign\w*"
    r"|disab\w*|pregnan\w*|veteran|family_status|date_of_birth|dob|birth\w*)(_|$)"
)
_AGE_BESIDE = frozenset(
    "years yrs in group band bucket customer client applicant borrower person at application".split()  # noqa: SIM905
)
_PERSONAL = (
    r"(^|_)((first|last|full|middle|sur|maiden|customer|client|applicant|borrower|holder)_?name|surname|e_?mail\w*|(tele|mobile_?)?phone"
    r"|mobile|ssn|social_security\w*|iban|passport\w*|street\w*|address\w*|birth\w*|dob|ip|card_(number|no|num)"
    r"|cc_num|account_(number|no)|national_id|tax_id|latitude|longitude|lat|long?)(_|$)|^name$"
)
_KEY = (
    r"(^|_)(id|uuid|guid|key|number|no|num|nr|ref|reference|account|iban|email)$"
    r"|^(customer|client|card|terminal|merchant|device|borrower|applicant)$"
)
_CODE = r"(^|_)(zip(_?code)?|postcode|postal_code|naics|sic|mcc|code|type|category|class)$"
_MONEY = r"(^|_)(amount|amt|value|price|sum|total)(_|$)"
_NO_VALUE = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null", "nil", "-", "--", ".", "missing", "xna"})
_CODES = frozenset(
    {98.0, 99.0, 998.0, 999.0, 9998.0, 9999.0, 99998.0, 99999.0, 999999.0, 9999999.0, 99999999.0, 999999999.0}
)
_NEGATIVE_CODES = frozenset({-1.0, -7.0, -8.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -999999.0})


@dataclass(frozen=True)
class Evidence:
    """How a column goes with the label.

    auc: 0.5 to 1, of the column alone, missing values below all others. usual: its most frequent value as text.
    others: rows with another value than that; of these a share `rate` is positive.
    """

    auc: float
    usual: str
    others: int
    rate: float


def slug(name: str) -> str:
    """A name as use cases write them: lower case, digits and underscores, with a letter at the start.

    >>> [slug(name) for name in ("Loan Amount (USD)", "customerId", "2nd_income", "VISA%")]
    ['loan_amount_usd', 'customer_id', 'x2nd_income', 'visa']
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    plain = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return plain if re.match(r"[a-z]", plain) else f"x{plain}"


def named_label(name: str) -> int:
    """How much a name sounds like a label: 3 to 1, and 0 for not at all."""
    return next((3 - rank for rank, part in enumerate(_LABELS) if re.fullmatch(part, slug(name))), 0)


def named_event_time(name: str) -> int:
    """How much a name sounds like the time of the event: 2, 1 for no idea, 0 for another time."""
    plain = slug(name)
    if re.search(_NOT_EVENTS, plain) or named_leak(name):
        return 0
    return 2 if re.search(_EVENT_TIMES, plain) else 1


def named_time(name: str) -> bool:
    """Whether numbers under this name may be times."""
    return bool(re.search(_TIMES, slug(name))) and not named_key(name)


def named_known(name: str) -> bool:
    """Whether a time's name says that the outcome became known then."""
    return bool(re.search(_KNOWN, slug(name)))


def named_leak(name: str) -> str:
    """Why a name sounds like something known after the event only; '' if it doesn't."""
    return next((reason for part, reason in _LEAKS.items() if re.search(part, slug(name))), "")


def named_protected(name: str) -> bool:
    """Whether a name is that of an attribute that may not decide. The age of a person is one, that of a car isn't.

    >>> [named_protected(name) for name in ("sex", "age_years", "account_age", "personal_status_sex")]
    [True, True, False, True]
    """
    words = re.split(r"[^a-z]+", slug(name))
    return bool(re.search(_PROTECTED, slug(name))) or ("age" in words and not set(words) - _AGE_BESIDE - {"age", ""})


def named_personal(name: str) -> bool:
    """Whether a name is that of data that identifies a person.

    >>> [named_personal(name) for name in ("email", "customer_name", "addr_state", "bank_name")]
    [True, True, False, False]
    """
    return bool(re.search(_PERSONAL, slug(name)))


def named_key(name: str) -> bool:
    """Whether a name is that of an identifier."""
    return bool(re.search(_KEY, slug(name)))


def named_code(name: str) -> bool:
    """Whether numbers under this name are codes, not quantities."""
    return bool(re.search(_CODE, slug(name)))


def named_money(name: str) -> bool:
    """Whether a name is that of an amount."""
    return bool(re.search(_MONEY, slug(name)))


def named_by_lender(name: str) -> bool:
    """Whether a name is that of a term which the lender sets, maybe by a model of its own."""
    return bool(re.search(_LENDER, slug(name)))


def named_unit(name: str) -> str:
    """The unit that a name says; '' for none.

    >>> [named_unit(name) for name in ("term_months", "mths_since_last_delinq", "limit_eur", "dti")]
    ['months', 'months', 'EUR', '']
    """
    words = set(re.split(r"[^a-z]+", slug(name)))
    currency = next((word.upper() for word in sorted(words & _CURRENCIES)), "")
    return currency or next((unit for part, unit in _UNITS.items() if re.search(part, slug(name))), "")


def leak(name: str, evidence: Evidence, *, base: float) -> str:
    """Why a column is suspected to know the outcome; '' if it isn't. `base` is the share of positives."""
    named = named_leak(name)
    if evidence.auc >= GIVEN_AWAY:
        return f"it alone tells the classes apart (AUC {evidence.auc:.3f})" + (f": {named}" if named else "")
    if evidence.others >= 30 and base < 0.6 and evidence.rate >= 0.97:
        found = f"another value than {evidence.usual!r} is found with {evidence.rate:.0%} positives"
        return f"{found} (of all: {base:.1%})" + (f"; {named}" if named else "")
    if evidence.others * base >= 30 and evidence.rate <= base / 50:
        return f"another value than {evidence.usual!r} is found with the negative class only"
    return f"by its name: {named}" if named else ""


def auc(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of one column, at least 0.5; ties count half. 0.5 if there is one class only."""
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return 0.5
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    area = (float(ranks[positive].sum()) - ones * (ones + 1) / 2) / (ones * zeros)
    return max(area, 1 - area)


def number_codes(counts: Mapping[float, int]) -> tuple[float, ...]:
    """Values of a number that look like codes for 'unknown': isolated beyond all others, and frequent.

    `counts` are the rows of each distinct value. A negative code counts only where all else is at least 0.
    """
    rows = sum(counts.values())
    rest = [value for value in counts if value not in _CODES | _NEGATIVE_CODES]
    often = {value for value, count in counts.items() if count >= max(3, rows / 2000)}
    if len(rest) < 3:
        return ()
    low, high = min(rest), max(rest)
    found = {value for value in often & _CODES if value > high + max(high - low, 1)}
    if low >= 0:
        found |= often & _NEGATIVE_CODES
    return tuple(sorted(found))


def text_codes(values: Sequence[str]) -> tuple[str, ...]:
    """Texts that say 'no value', such as '?', 'NA' or a blank."""
    return tuple(sorted(value for value in values if value.strip().lower() in _NO_VALUE))
