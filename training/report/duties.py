"""What supervisors and the law ask of a model's documentation, in our words, and the chapter that answers.

Sources: SR letter 26-2, Revised Guidance on Model Risk Management (Federal Reserve, with OCC Bulletin 2026-13 and the
FDIC, 17 April 2026; it replaced SR 11-7 and SR 21-8; guidance for banks, most of all above 30 billion dollars, not
enforceable by itself), cited by its parts. Supervisory Statement SS1/23, Model risk management principles for banks
(PRA, 17 May 2023, in force since 17 May 2024), cited by principle. Annex IV of Regulation (EU) 2024/1689, the technical
documentation of high-risk AI systems, which scoring the creditworthiness of people is (Annex III, point 5(b); the
detection of fraud is excepted there), cited by point.
"""

from __future__ import annotations

from dataclasses import dataclass

SR = "SR 26-2"
SS = "SS1/23"
AI = "Regulation (EU) 2024/1689, Annex IV"

TITLES = {
    SR: "Revised Guidance on Model Risk Management (Federal Reserve SR 26-2, OCC Bulletin 2026-13, FDIC; 2026)",
    SS: "Model risk management principles for banks (PRA Supervisory Statement SS1/23; 2023)",
    AI: "Technical documentation of high-risk AI systems (EU AI Act, Annex IV; 2024)",
}


@dataclass(frozen=True)
class Duty:
    """One duty. asks: what, in our words. chapters: keys of the chapters that answer. left: what a person must add."""

    source: str
    place: str
    asks: str
    chapters: tuple[str, ...]
    left: str = ""


DUTIES = (
    Duty(SR, "Model development and use", "a stated purpose, and a design that serves it", ("purpose", "search")),
    Duty(SR, "Model development and use", "data that are sound, relevant and documented", ("data", "sample", "leaks")),
    Duty(
        SR,
        "Model development and use",
        "tests of accuracy, robustness and stability before use, with the behaviour over a range of inputs",
        ("performance", "stability", "explanation", "credit_risk"),
    ),
    Duty(SR, "Model development and use", "assumptions and limitations that users know", ("limits", "summary")),
    Duty(
        SR,
        "Model development and use",
        "use within what the model was made for, with reports that show its uncertainty",
        ("purpose", "performance", "money"),
        "overlays and adjustments of the outputs, where any are made",
    ),
    Duty(
        SR,
        "Model validation and monitoring",
        "conceptual soundness: choices of method, variables and data that hold up to challenge",
        ("features", "search", "explanation", "leaks"),
        "the validator's judgement",
    ),
    Duty(
        SR,
        "Model validation and monitoring",
        "outcomes analysis: outputs against what came true, on rows that weren't fitted on",
        ("performance", "calibration", "credit_risk"),
    ),
    Duty(SR, "Model validation and monitoring", "comparison with alternatives and benchmarks", ("search", "summary")),
    Duty(
        SR,
        "Model validation and monitoring",
        "ongoing monitoring, as often and as deep as materiality asks, with thresholds and what follows",
        ("monitoring", "stability"),
    ),
    Duty(
        SR,
        "Governance and controls",
        "effective challenge by people with skill, standing and independence of the development",
        ("sign_off",),
        "the names and judgements of validator and approver",
    ),
    Duty(
        SR,
        "Governance and controls",
        "documentation so that others can understand and repeat what was done",
        ("reproduction", "data", "points"),
        "the model's materiality and its place in the inventory",
    ),
    Duty(
        SR,
        "Vendor and other third-party products",
        "the same understanding of products that others made",
        ("data", "reproduction"),
        "the assessment of the libraries, whose versions are listed",
    ),
    Duty(
        SS, "Principle 1", "identification of the model and of what its risk class rests on", ("purpose",), "the tier"
    ),
    Duty(SS, "Principle 2", "roles of owner, developer, validator and approver", ("sign_off",), "their names"),
    Duty(
        SS, "Principle 3.1", "purpose and design, with the choice of method against alternatives", ("purpose", "search")
    ),
    Duty(
        SS,
        "Principle 3.2",
        "data that suit the purpose, with quality, proxies, bias and lineage looked into",
        ("data", "sample", "leaks", "features", "fairness"),
    ),
    Duty(
        SS,
        "Principle 3.3",
        "development tests: performance, limits, behaviour under changed conditions, explainability",
        ("performance", "stability", "explanation", "credit_risk", "limits"),
    ),
    Duty(
        SS,
        "Principle 3.4",
        "adjustments and expert judgement that are stated and justified",
        ("leaks", "rejects", "money"),
        "judgements beyond what the use case declares",
    ),
    Duty(SS, "Principle 3.5", "documentation that is complete and up to date", ("summary", "reproduction", "limits")),
    Duty(SS, "Principle 3.6", "systems that carry the model, tested and controlled", ("reproduction", "summary")),
    Duty(
        SS, "Principle 4.1, 4.2", "an independent review of the model before use", ("summary", "sign_off"), "the review"
    ),
    Duty(SS, "Principle 4.3", "process verification: what runs is what was validated", ("reproduction", "data")),
    Duty(
        SS,
        "Principle 4.4",
        "performance tests: discrimination, calibration, stability, benchmarks, sensitivity, by segment",
        ("performance", "calibration", "stability", "search", "explanation", "credit_risk"),
    ),
    Duty(SS, "Principle 4.4, 4.5", "monitoring with thresholds, and when to validate anew", ("monitoring",)),
    Duty(
        SS,
        "Principle 5",
        "mitigants for known weaknesses: adjustments, restricted use, exceptions",
        ("limits", "purpose"),
        "the answer to each warning",
    ),
    Duty(
        AI,
        "Point 1",
        "general description: intended purpose, provider, version, interaction with other systems",
        ("purpose", "summary", "data"),
        "hardware, forms of delivery, user interface and instructions for use",
    ),
    Duty(
        AI, "Point 2(a)", "methods and steps of development, and third-party tools", ("search", "data", "reproduction")
    ),
    Duty(
        AI,
        "Point 2(b)",
        "design: logic, choices with their reasons, what is optimised, trade-offs, expected output",
        ("search", "explanation", "money", "fairness"),
    ),
    Duty(AI, "Point 2(c)", "architecture and computing resources", ("search", "reproduction")),
    Duty(
        AI,
        "Point 2(d)",
        "data sets: provenance, scope, characteristics, selection, labelling, cleaning",
        ("data", "sample", "features", "leaks"),
    ),
    Duty(AI, "Point 2(e)", "human oversight and what helps people to read the outputs", ("purpose", "explanation")),
    Duty(AI, "Point 2(f)", "changes decided on beforehand", ("monitoring",)),
    Duty(
        AI,
        "Point 2(g)",
        "validation and tests: data, metrics of accuracy and robustness, discriminatory impact, signed reports",
        ("performance", "calibration", "stability", "fairness", "sign_off"),
    ),
    Duty(AI, "Point 2(h)", "cybersecurity measures", ("reproduction",), "the security of the system around the model"),
    Duty(
        AI,
        "Point 3",
        "capabilities and limits, accuracy for groups of people, sources of risk, input data",
        ("limits", "fairness", "explanation", "features"),
    ),
    Duty(AI, "Point 4", "why the performance metrics are the right ones", ("performance",)),
    Duty(AI, "Point 5", "the risk management system", ("limits", "monitoring"), "the system of Article 9 as a whole"),
    Duty(AI, "Point 6", "changes through the life of the system", ("reproduction", "data")),
    Duty(AI, "Point 7", "harmonised standards applied, or other solutions", ("duties",), "the standards applied"),
    Duty(AI, "Point 8", "the EU declaration of conformity", ("sign_off",), "the declaration itself"),
    Duty(AI, "Point 9", "monitoring after the system is put into use, with its plan", ("monitoring",)),
)
