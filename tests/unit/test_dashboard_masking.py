from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.configuration import read_configuration
from dashboard.masking import WITHHELD, masked_configuration
from flows.embedded import check_virtual_meter
from flows.registry import installed_node_types

TYPES = installed_node_types()
SECRET = "Correct-Horse-77"


def masked(text: str, secrets: frozenset[str] = frozenset()) -> str:
    return masked_configuration(text, TYPES, secrets)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"thingsboard: {{token: {SECRET}}}", 'thingsboard: {token: "***"}'),
        (f"thingsboard:\n  token: '{SECRET}'  # why\n", 'thingsboard:\n  token: "***"  # why\n'),
        (f"thingsboard:\n  token: ${{TB_TOKEN:-{SECRET}}}\n", "thingsboard:\n  token: ${TB_TOKEN:-***}\n"),
        (f"thingsboard:\n  token: ${{TB:-${{OTHER:-{SECRET}}}}}\n", "thingsboard:\n  token: ${TB:-***}\n"),
        ("thingsboard:\n  token: ${TB_TOKEN:?export it}\n", "thingsboard:\n  token: ${TB_TOKEN}\n"),
        ("thingsboard:\n  token: file:/run/secrets/tb\n", "thingsboard:\n  token: file:/run/secrets/tb\n"),
        (f"thingsboard:\n  token: pre-${{X}}-{SECRET}\n", 'thingsboard:\n  token: "***"\n'),
        (f"meters:\n- password: |\n    {SECRET}\n    more\n  id: m\n", 'meters:\n- password: "***"\n  id: m\n'),
        (f"meters:\n- password: >-\n    {SECRET}\n  id: m\n", 'meters:\n- password: "***"\n  id: m\n'),
        (f"meters:\n- hls_secret: first\n    {SECRET}\n  id: m\n", 'meters:\n- hls_secret: "***"\n  id: m\n'),
        (
            f"defaults: &d\n  block_cipher_key: {SECRET}\nmeters:\n- <<: *d\n",
            'defaults: &d\n  block_cipher_key: "***"\nmeters:\n- <<: *d\n',
        ),
        (f"thingsbord:\n  Token: {SECRET}\n", 'thingsbord:\n  Token: "***"\n'),
        (f"a:\n  my_passwords: [{SECRET}, {{x: {SECRET}}}]\n", 'a:\n  my_passwords: ["***", {x: "***"}]\n'),
        (f"x: 1  # password: {SECRET}\n", "x: 1  # password: ***\n"),
        (f"# token = '{SECRET}'\nx: 1\n", "# token = ***\nx: 1\n"),
        (f"thingsboard: {{url: 'mqtt://user:{SECRET}@host:1883'}}", "thingsboard: {url: 'mqtt://***@host:1883'}"),
        ("thingsboard:\n  token:\n", "thingsboard:\n  token:\n"),
        ("meters:\n- password: 00012345\n", 'meters:\n- password: "***"\n'),
        ("", ""),
    ],
)
def test_secrets_are_masked_where_they_stand(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_an_alias_of_a_secret_shows_nothing() -> None:
    text = f"a: &a {SECRET}\nthingsboard: {{token: *a}}\n"
    assert SECRET not in masked(text)


def test_what_follows_a_block_scalar_stays_where_it_is() -> None:
    text = f"meters:\n  - hls_secret: |-\n      {SECRET}\n    id: m1\n"
    assert masked(text) == 'meters:\n  - hls_secret: "***"\n    id: m1\n'


def test_a_known_secret_is_masked_wherever_it_is_written_again() -> None:
    assert masked(f"thingsboard: {{client_id: {SECRET}}}", frozenset({SECRET})) == "thingsboard: {client_id: ***}"


@pytest.mark.parametrize("text", [f"token: {SECRET}\n\tx: [", f"token: '{SECRET}", f"a: b: {SECRET}", f"--- 1\n--- {SECRET}", "\x00"])
def test_what_is_not_yaml_is_not_shown(text: str) -> None:
    assert masked(text) == WITHHELD


def test_what_is_no_secret_stays_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "pipeline.yaml").read_text()
    shown = masked(text)
    assert shown.splitlines()[:6] == text.splitlines()[:6]
    changed = [(a, b) for a, b in zip(text.splitlines(), shown.splitlines(), strict=True) if a != b]
    assert len(changed) == 3 and all("***" in after for _, after in changed)


@settings(max_examples=150, deadline=None)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=8, max_size=20),
    style=st.sampled_from([None, "'", '"', "|", ">"]),
    key=st.sampled_from(["password", "hls_secret", "block_cipher_key", "authentication_key"]),
    flow=st.booleans(),
)
def test_no_way_to_write_yaml_gets_a_secret_through(secret: str, style: str | None, key: str, flow: bool) -> None:
    text = yaml.safe_dump({"meters": [{"id": "m1", key: secret}]}, default_style=style, default_flow_style=flow, allow_unicode=True)
    shown = masked(text)
    assert secret not in shown
    assert yaml.safe_load(shown)["meters"][0]["id"] == "m1"


def test_secrets_from_the_environment_and_files_are_never_shown(tmp_path: Path) -> None:
    """They are not in the text; where somebody wrote one of them into a comment as well, it is masked by its value."""
    file = tmp_path / "pipeline.yaml"
    (tmp_path / "secret").write_text("from-a-file-99\n")
    text = (Path(__file__).parents[2] / "pipeline.yaml").read_text()
    text = text.replace("${METER_PASSWORD:-12345678}", "file:secret").replace("demo-gateway-token", SECRET)
    file.write_text(text + f"# from-a-file-99 and from-the-environment-1 and {SECRET}\n")
    found = read_configuration(file, TYPES, check_virtual_meter, environment={"TB_TOKEN": "from-the-environment-1"})
    assert not found.problems
    for secret in ("from-a-file-99", "from-the-environment-1", SECRET):
        assert secret not in json.dumps(found.text), secret
