"""The machine-readable and text forms of a comparison: comparison.json, comparison.md and junit.xml."""

import json
from typing import Any
from xml.etree import ElementTree as ET

from loadgen.comparison.comparison import Comparison, StepComparison
from loadgen.comparison.measurement import Measurement
from loadgen.comparison.verdict import SIGNIFICANCE, Answer, Judged
from loadgen.report.content.comparison import compared_names, comparison_headline, describe_change, step_tables
from loadgen.report.content.table import Table, sanitize_text
from loadgen.results.serialization import to_untagged_json

FORMAT = 1  # of comparison.json; 1 (2026-11): initial


def comparison_json(comparison: Comparison) -> str:
    """Return the text of comparison.json: strict JSON; changes are ratios minus 1, of shares differences."""
    headline = comparison_headline(comparison)
    content = {
        "format": FORMAT,
        "answer": headline.title.lower(),
        "sentence": headline.sentence,
        "exit": {"code": int(comparison.status), "name": comparison.status.name},
        "is_interleaved": comparison.is_interleaved,
        "significance": SIGNIFICANCE,
        "margins": comparison.margins,
        "is_strict": comparison.is_strict,
        "base": _measurement(comparison.base),
        "new": _measurement(comparison.new),
        "differences": comparison.differences,
        "notes": comparison.notes,
        "steps": [_step(step) for step in comparison.steps],
        "gates": [
            {
                "rule": gate.text,
                "step": gate.step,
                "metric": gate.judged.difference.metric.name,
                "result": "exceeded" if gate.is_exceeded else "cannot be told" if gate.is_unknown else "passed",
            }
            for gate in comparison.gates
        ],
        "unanswered_gates": comparison.unanswered_gates,
    }
    return json.dumps(to_untagged_json(content), indent=1, allow_nan=False) + "\n"


def _measurement(one: Measurement) -> dict[str, Any]:
    return {"name": one.name, "run_id": one.run_id, "created": one.created, "conditions": one.conditions}


def _step(step: StepComparison) -> dict[str, Any]:
    return {"step": step.label, "invalid": step.invalid_reason, "metrics": [_metric(one) for one in step.metrics]}


def _metric(judged: Judged) -> dict[str, Any]:
    one = judged.difference
    return {
        "metric": one.metric.name,
        "verdict": judged.answer.value,
        "is_gating": judged.is_gating,
        "base": one.base,
        "new": one.new,
        "change": one.change,
        "low": one.low,
        "high": one.high,
        "p_value": one.p_value,
        "p_value_corrected": judged.p_value,
        "margin": judged.margin,
        "blocks": one.blocks,
        "calls": one.calls,
        "calls_needed": judged.calls_needed,
        "explanation": judged.explanation,
    }


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown, for a step summary or a comment."""
    headline = comparison_headline(comparison)
    how = "interleaved" if comparison.is_interleaved else "not interleaved"
    lines = [
        f"## {_md(headline.title)}: {_md(compared_names(comparison))}",
        "",
        f"{_md(headline.sentence)}. ({how})",
        "",
        *(f"- compared although: {_md(text)}" for text in comparison.differences),
        *(f"- {_md(text)}" for text in comparison.notes),
    ]
    for table in step_tables(comparison):
        lines += ["", f"### {_md(table.title)}", "", *_markdown_table(table)]
    return "\n".join(lines) + "\n"


def _markdown_table(table: Table) -> list[str]:
    rules = [":--" if column.is_text else "--:" for column in table.columns]
    rows = [[_md(f"{c.text} ({c.detail})" if c.detail else c.text) for c in row] for row in table.rows]
    cells = [[_md(column.name) for column in table.columns], rules, *rows]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _md(text: str) -> str:
    """Return text that Markdown shows as it is; HTML is escaped."""
    escaped = sanitize_text(text, 600)
    for character in "\\`*_{}[]<>|#~":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def comparison_junit(comparison: Comparison) -> str:
    """Return junit.xml: a test case per step and metric, with its change, limit and interval as properties.

    Worse, or a gate exceeded: a failure. Cannot be told: skipped, with --strict a failure if it gates. INVALID: an
    error.
    """
    suites = ET.Element("testsuites", name="loadgen compare")
    for step in comparison.steps:
        cases = [_case(step, one, comparison) for one in step.metrics]
        if step.invalid_reason and not comparison.accepts_invalid:
            cases = [ET.Element("testcase", classname=_xml(step.label), name="verdict")]
            ET.SubElement(cases[0], "error", type="INVALID", message=_xml(step.invalid_reason))
        counts = {
            kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "error", "skipped")
        }
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=_xml(step.label),
            tests=str(len(cases)),
            failures=counts["failure"],
            errors=counts["error"],
            skipped=counts["skipped"],
        )
        suite.extend(cases)
    if comparison.unanswered_gates:
        count = str(len(comparison.unanswered_gates))
        suite = ET.SubElement(suites, "testsuite", name="gates", tests=count, failures=count, errors="0", skipped="0")
        for text in comparison.unanswered_gates:
            case = ET.SubElement(suite, "testcase", classname="gates", name=_xml(text))
            ET.SubElement(case, "failure", type="not evaluated", message="no step has a difference for this metric")
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(step: StepComparison, judged: Judged, comparison: Comparison) -> ET.Element:
    one = judged.difference
    case = ET.Element("testcase", classname=_xml(step.label), name=one.metric.name)
    values = {
        "change": one.change,
        "low": one.low,
        "high": one.high,
        "margin": judged.margin,
        "p_value_corrected": judged.p_value,
        "blocks": one.blocks,
        "calls": one.calls,
        "base": None if one.base is None else one.base.value,
        "new": None if one.new is None else one.new.value,
    }
    properties = ET.SubElement(case, "properties")
    for name, value in values.items():
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=f"{value:.6g}")
    gates = [gate for gate in comparison.gates if gate.judged is judged]
    exceeded = [gate.text for gate in gates if gate.is_exceeded]
    if exceeded or (judged.answer is Answer.WORSE and not gates):
        limit = "; ".join(exceeded) or f"{100 * judged.margin:g} % margin"
        message = f"{describe_change(judged)}; limit: {limit}"
        ET.SubElement(case, "failure", type="worse", message=_xml(message))
    elif judged.answer is Answer.UNKNOWN:
        kind = "failure" if comparison.is_strict and judged.is_gating else "skipped"
        detail = {"type": "cannot be told"} if kind == "failure" else {}
        ET.SubElement(case, kind, detail, message=_xml(f"{describe_change(judged)}: {judged.explanation}"))
    return case


def _xml(text: str) -> str:
    return sanitize_text(text, 600)
