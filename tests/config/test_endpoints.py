from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.builtin_files import builtin, config_home
from pipeline.config import Loaded, Origin
from pipeline.errors import UsageError
from tests.config.files import loaded, refused

CANARY = "canary-0123456789"


def with_endpoint(folder: Path, text: str, *, more: str = "", **environ: str) -> Loaded:
    (folder / "endpoints.yaml").write_text(text, encoding="utf-8")
    return loaded(folder, more, {"endpoint": "mine"}, environ)


def refused_endpoint(folder: Path, text: str) -> list[str]:
    (folder / "endpoints.yaml").write_text(text, encoding="utf-8")
    return refused(folder, flags={"endpoint": "mine"})


def test_the_built_in_openai_endpoint_names_its_key(tmp_path: Path) -> None:
    endpoint = loaded(tmp_path, flags={"endpoint": "openai"}).endpoint
    assert endpoint.base_url == "https://api.openai.com/v1"
    assert endpoint.api_key == "env:OPENAI_API_KEY"
    assert (endpoint.organization, endpoint.project, endpoint.provider) == (None, None, "openai")


def test_the_built_in_simulator_needs_no_key(tmp_path: Path) -> None:
    endpoint = loaded(tmp_path).endpoint
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert (endpoint.api_key, endpoint.provider) == (None, "simulator")


def test_a_built_in_endpoint_has_a_variable_for_its_url(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    run = loaded(tmp_path, flags={"endpoint": "openai"}, environ={"OPENAI_BASE_URL": url})
    assert run.endpoint.base_url == url
    assert run.origins["endpoint.base_url"] == Origin("OPENAI_BASE_URL")
    assert loaded(tmp_path, environ={"SIMULATOR_BASE_URL": url}).endpoint.base_url == url


def test_that_variable_is_checked_like_the_file(tmp_path: Path) -> None:
    lines = refused(tmp_path, flags={"endpoint": "openai"}, environ={"OPENAI_BASE_URL": "http://example.com/v1"})
    assert lines == [
        "OPENAI_BASE_URL: openai.base_url: must begin with https:// (http is for 127.0.0.1, ::1 and localhost)"
    ]


def test_an_endpoint_of_ones_own_is_not_moved_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("openai: {base_url: https://proxy.example/v1}", encoding="utf-8")
    run = loaded(tmp_path, flags={"endpoint": "openai"}, environ={"OPENAI_BASE_URL": "https://evil.example"})
    assert run.endpoint.base_url == "https://proxy.example/v1"


def test_the_nearest_file_that_has_the_name_counts(tmp_path: Path) -> None:
    home = tmp_path / "home" / "pipeline"
    home.mkdir(parents=True)
    for folder in (tmp_path, home):
        name = "a" if folder == tmp_path else "b"
        (folder / "endpoints.yaml").write_text(
            f"{name}: {{base_url: https://{name}}}\nboth: {{base_url: https://{name}}}"
        )
    environ = {"XDG_CONFIG_HOME": str(home.parent)}
    urls = {
        name: loaded(tmp_path, flags={"endpoint": name}, environ=environ).endpoint.base_url
        for name in ("a", "b", "both", "openai")
    }
    assert urls == {"a": "https://a", "b": "https://b", "both": "https://a", "openai": "https://api.openai.com/v1"}


def test_the_config_home_is_xdg_or_below_the_home_or_nowhere() -> None:
    assert config_home({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x")
    assert config_home({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}) == Path("/h/.config")
    assert config_home({}) is None


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://gateway.example/v1", "openai"),
        ("http://localhost:8000/v1", "openai"),
        ("https://api.groq.com", "groq"),
    ],
)
def test_behind_a_gateway_the_prices_are_those_of_the_endpoint(tmp_path: Path, url: str, provider: str) -> None:
    run = loaded(tmp_path, flags={"endpoint": "openai"}, environ={"OPENAI_BASE_URL": url})

    assert (run.endpoint.base_url, run.endpoint.provider) == (url, provider)


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    assert refused(tmp_path, flags={"endpoint": "opnai"}) == [
        "command line: endpoint: no endpoint 'opnai' in endpoints.yaml (did you mean 'openai'?)"
    ]
    assert refused(tmp_path, flags={"endpoint": "zzz"}) == [
        "command line: endpoint: no endpoint 'zzz' in endpoints.yaml; there are openai, simulator"
    ]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", "mine.base_url: is missing"),
        ("5", "mine: must be a mapping of keys to values, such as {base_url: …}"),
        ("{base_url: 'http://example.com'}",
         "mine.base_url: must begin with https:// (http is for 127.0.0.1, ::1 and localhost)"),
        ("{base_url: 'https://h', apikey: x}", "mine.apikey: unknown key (did you mean 'api_key'?)"),
        ("{base_url: 'https://h', headers: {a: b}}", "mine.headers: unknown key"),
        ("{base_url: 'https://h', prices: cheap}", "mine.prices: must be 'free'"),
        ("{base_url: 'https://h', limits: {gpt-5.6: {rmp: 5}}}",
         "mine.limits.gpt-5.6.rmp: unknown key (did you mean 'rpm'?)"),
        ("{base_url: 'https://h', limits: {m: {tpm: 0}}}", "mine.limits.m.tpm: must be at least 1"),
        ("{base_url: 'https://h', batch: {max_items: 0}}", "mine.batch.max_items: must be at least 1"),
        ("{base_url: 'https://h', organization: sk-abcdefghijklmnopqrst}",
         "mine.organization: looks like a secret: a config holds only env:NAME or file:PATH, in endpoints.yaml"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named_with_its_line(tmp_path: Path, entry: str, problem: str) -> None:
    assert refused_endpoint(tmp_path, f"# comment\nmine: {entry}\n") == [f"endpoints.yaml:2: {problem}"]


@pytest.mark.parametrize("key", [CANARY, f"sk-{CANARY}{CANARY}", f"Bearer {CANARY}", ""])
def test_a_literal_key_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    lines = refused_endpoint(tmp_path, f"mine:\n  base_url: https://h\n  api_key: '{key}'\n")
    assert lines == [
        "endpoints.yaml:3: mine.api_key: must be env:NAME or file:PATH; a key itself must not be in a config"
    ]


def test_organization_and_project_are_plain_or_variables_that_may_be_unset(tmp_path: Path) -> None:
    text = "mine: {base_url: https://h, organization: env:ORG, project: proj_1}"
    assert with_endpoint(tmp_path, text, ORG="org-7").endpoint.organization == "org-7"
    unset = with_endpoint(tmp_path, text, ORG="").endpoint
    assert (unset.organization, unset.project) == (None, "proj_1")


def test_a_key_file_may_lie_beside_the_endpoints(tmp_path: Path) -> None:
    run = with_endpoint(tmp_path, "mine: {base_url: https://h, api_key: 'file:{here}/key'}")
    assert run.endpoint.api_key == f"file:{tmp_path}/key"


@pytest.mark.parametrize(
    ("entry", "provider"),
    [
        ("base_url: https://api.openai.com/v1", "openai"),
        ("base_url: https://api.groq.com/openai/v1", "groq"),
        ("base_url: https://gateway.example/v1", "gateway.example"),
        ("base_url: https://gateway.example/v1, provider: openai", "openai"),
        ("base_url: http://localhost:8000/v1, prices: free", "free"),
    ],
)
def test_the_host_tells_whose_prices_hold(tmp_path: Path, entry: str, provider: str) -> None:
    assert with_endpoint(tmp_path, f"mine: {{{entry}}}").endpoint.provider == provider


LIMITS = """\
mine:
  base_url: https://h
  limits:
    gpt-6: {rpm: 1, tpm: 10}
    gpt-6*: {rpm: 9}
    gpt-6-luna*: {rpm: 2}
    gpt-*: {rpm: 3}
    default: {per_second: 4}
  batch: {max_items: 5, max_tokens: 6}
"""


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        ("gpt-6", (1, 10, None)),
        ("gpt-6-luna-mini", (2, None, None)),
        ("gpt-5", (3, None, None)),
        ("other", (None, None, 4)),
        (None, (None, None, 4)),
    ],
)
def test_the_limits_of_the_model_hold(tmp_path: Path, model: str | None, limits: tuple[int | None, ...]) -> None:
    config = with_endpoint(tmp_path, LIMITS, more=f"model: {model}" if model else "").config
    assert (config.limits.rpm, config.limits.tpm, config.limits.per_second) == limits
    assert config.limits.concurrency == 64


def test_the_limits_of_the_config_come_first_each_for_itself(tmp_path: Path) -> None:
    run = with_endpoint(tmp_path, LIMITS, more="model: gpt-6\nlimits: {rpm: 9}")
    assert (run.config.limits.rpm, run.config.limits.tpm) == (9, 10)
    assert run.origins["limits.rpm"] == Origin(f"{tmp_path}/run.yaml", 6)
    assert run.origins["limits.tpm"] == Origin(f"{tmp_path}/endpoints.yaml", 4)


def test_bounds_of_a_request_are_those_of_the_file(tmp_path: Path) -> None:
    endpoint = with_endpoint(tmp_path, LIMITS).endpoint
    assert (endpoint.max_items, endpoint.max_tokens) == (5, 6)


def test_a_dotenv_that_supplies_the_key_must_be_private(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"OPENAI_API_KEY={CANARY}\n", encoding="utf-8")
    dotenv.chmod(0o644)
    flags = {"endpoint": "openai"}
    assert refused(tmp_path, flags=flags) == [".env holds a key, and others may read it: chmod 600 .env"]
    assert loaded(tmp_path, flags=flags, environ={"OPENAI_API_KEY": "x"}).environ["OPENAI_API_KEY"] == "x"
    dotenv.chmod(0o600)
    assert loaded(tmp_path, flags=flags).environ["OPENAI_API_KEY"] == CANARY


def test_a_file_that_does_not_come_with_the_package_is_an_error() -> None:
    assert builtin("endpoints.yaml").is_file()
    with pytest.raises(FileNotFoundError, match=r"lacks none\.yaml"):
        builtin("none.yaml")


def test_a_broken_file_of_ones_own_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(UsageError, match=r"endpoints\.yaml:1: is not YAML"):
        loaded(tmp_path)


CAPPED = """
mine:
  base_url: https://api.example/v1
  monthly_usd: 50
  limits:
    luna: {rpm: 10, monthly_usd: 20}
    sol*: {monthly_usd: 0.5}
    default: {rpm: 5}
"""


def test_an_endpoint_and_its_models_may_have_monthly_caps(tmp_path: Path) -> None:
    run = with_endpoint(tmp_path, CAPPED, more="model: luna")

    assert [(cap.name, cap.nusd, cap.endpoint, cap.key) for cap in run.endpoint.caps] == [
        ("monthly_usd of endpoint mine", 50_000_000_000, "mine", None),
        ("limits.luna.monthly_usd of endpoint mine", 20_000_000_000, "mine", "luna"),
        ("limits.sol*.monthly_usd of endpoint mine", 500_000_000, "mine", "sol*"),
    ]
    assert run.config.limits.rpm == 10, "a cap is no pace"
    assert run.origins["endpoint.monthly_usd"].line == 4


def test_an_endpoint_without_caps_has_none(tmp_path: Path) -> None:
    run = with_endpoint(tmp_path, "mine: {base_url: https://api.example/v1, limits: {luna: {rpm: 10}}}")

    assert run.endpoint.caps == []
    assert run.endpoint.monthly_usd_by_model is None


@pytest.mark.parametrize("value", ["0", "-1", "'5 USD'", ".inf"])
def test_a_monthly_cap_that_is_no_sum_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    lines = refused_endpoint(tmp_path, CAPPED.replace("50", value))

    assert len(lines) == 1
    assert "endpoints.yaml:4: mine.monthly_usd: " in lines[0]
