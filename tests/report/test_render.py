from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from tests.report import examples

from bakeoff.report import render
from bakeoff.schema import Decision, UserError

OUTCOMES = [
    examples.winner,
    examples.no_clear_winner,
    examples.infeasible,
    examples.crowded,
    examples.hostile,
    examples.bare,
]


@pytest.mark.parametrize("make", OUTCOMES, ids=lambda make: make.__name__)
def test_json_is_the_record_itself_and_keeps_to_the_published_schema(make: Any) -> None:
    decision = make()
    said = render(decision, "en", "json")
    assert Decision.model_validate_json(said) == decision
    schema = Decision.model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(said, parse_constant=pytest.fail), schema)


def test_json_does_not_depend_on_the_language() -> None:
    assert render(examples.winner(), "zh", "json") == render(examples.winner(), "en", "json")


@pytest.mark.parametrize("make", OUTCOMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("form", ["html", "md"])
def test_every_form_exists_for_every_outcome(make: Any, language: Any, form: Any) -> None:
    assert len(render(make(), language, form)) > 1_000


@pytest.mark.parametrize(("language", "form"), [("fr", "html"), ("zh", "pdf")])
def test_an_unknown_language_or_format_is_a_user_s_mistake(language: Any, form: Any) -> None:
    with pytest.raises(UserError, match="allowed"):
        render(examples.winner(), language, form)


def test_importing_the_report_loads_neither_jinja_nor_a_learning_library() -> None:
    script = (
        "import sys, bakeoff.report; print([m for m in ('jinja2', 'numpy', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
