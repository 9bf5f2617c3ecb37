from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import mail_server, schema, show
from tests.config.files import loaded, refused

CANARY = "canary-0123456789"
EMAIL = "notify: {email: {to: ops@example.com, sender: p@example.com, server: 'smtps://mail.example.com', %s}}\n"


def test_by_default_nobody_is_told_and_of_a_run_that_did_something_everybody_would_be(tmp_path: Path) -> None:
    config = loaded(tmp_path).config

    assert (config.notify.command, config.notify.webhook.url, config.notify.email.server) == ((), None, None)
    assert config.heartbeat.url is None
    assert config.notify.on == ("complete", "dead_letters", "soft_budget", "hard_budget", "deadline", "failed")
    assert config.notify.timeout == config.heartbeat.timeout == 10


def test_an_address_may_stand_alone_or_in_a_list(tmp_path: Path) -> None:
    one = loaded(tmp_path, EMAIL % "").config.notify.email
    two = loaded(tmp_path, EMAIL.replace("ops@example.com", "[a@x.org, b@y.org]") % "").config.notify.email

    assert (one.to, two.to) == (("ops@example.com",), ("a@x.org", "b@y.org"))


def test_flags_and_variables_reach_every_key(tmp_path: Path) -> None:
    environ = {"PIPELINE_NOTIFY_WEBHOOK_URL": "env:HOOK", "PIPELINE_HEARTBEAT_TIMEOUT": "5s"}
    config = loaded(tmp_path, flags={"notify.on": "[failed]"}, environ=environ).config

    assert (config.notify.on, config.notify.webhook.url, config.heartbeat.timeout) == (("failed",), "env:HOOK", 5)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("notify: {on: [fail]}", "notify.on.0: must be"),
        ("notify: {on: [test]}", "notify.on.0: must be"),
        ("notify: {webhok: {url: env:A}}", "notify.webhok: unknown key (did you mean 'webhook'?)"),
        ("notify: {command: notify-send}", "notify.command: must be a list"),
        ("notify: {timeout: 0}", "notify.timeout: must be above 0"),
        ("notify: {timeout: 10m}", "notify.timeout: must be at most 300"),
        ("notify: {webhook: {url: 'http://example.com/'}}", "notify.webhook.url: must begin with https://"),
        ("notify: {webhook: {url: 'https://169.254.169.254/'}}", "notify.webhook.url: must not be a link-local"),
        ("notify: {webhook: {url: 'https://a:b@example.com/'}}", "notify.webhook.url: must not hold a user or"),
        ("notify: {webhook: {url: 'https://example.com/?sig=1'}}", "notify.webhook.url: has a query, which may be a"),
        ("notify: {webhook: {url: 'env:A B'}}", "notify.webhook.url: must be env:NAME or file:PATH"),
        ("notify: {webhook: {url: env:A, secret: hidden}}", "notify.webhook.secret: must be env:NAME or file:PATH"),
        ("notify: {webhook: {secret: env:A}}", "notify.webhook: a secret needs a url"),
        ("notify: {email: {to: ops@example.com}}", "notify.email: an e-mail needs to, sender and server"),
        (EMAIL % "user: me", "notify.email: a login needs user and password"),
        (EMAIL % "password: env:A", "notify.email: a login needs user and password"),
        (EMAIL % "user: 'env:A B', password: env:A", "notify.email.user: must be env:NAME or file:PATH"),
        (EMAIL % "user: me, password: hunter2", "notify.email.password: must be env:NAME or file:PATH"),
        (EMAIL.replace("ops@example.com", "'Ops <o@x.org>'") % "", "notify.email.to.0: must be an e-mail address"),
        (EMAIL.replace("ops@example.com", '"o@x.org\\r\\nBcc: e@x.org"') % "", "notify.email.to.0: must be an e-mail"),
        (EMAIL.replace("smtps:", "http:") % "", "notify.email.server: must be a URL such as smtps://"),
        ("heartbeat: {url: 'http://hc-ping.com/5f2e'}", "heartbeat.url: must begin with https://"),
        ("heartbeat: {url: 'https://224.0.0.1/'}", "heartbeat.url: must not be a link-local"),
    ],
)  # fmt: skip
def test_what_would_fail_at_night_is_refused_with_its_line(tmp_path: Path, more: str, problem: str) -> None:
    (line,) = refused(tmp_path, more)

    assert line.startswith(f"run.yaml:5: {problem}")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtps://mail.example.com", ("mail.example.com", 465, "tls")),
        ("smtps://mail.example.com:8465/", ("mail.example.com", 8465, "tls")),
        ("smtp://mail.example.com", ("mail.example.com", 587, "starttls")),
        ("smtp://10.0.0.7:25", ("10.0.0.7", 25, "starttls")),
        ("smtp://localhost", ("localhost", 25, "none")),
        ("smtp://127.0.0.1:2525", ("127.0.0.1", 2525, "none")),
        ("smtp://[::1]:2525", ("::1", 2525, "none")),
        ("smtps://localhost", ("localhost", 465, "tls")),
    ],
)
def test_only_to_this_machine_goes_mail_without_tls(url: str, server: tuple[str, int, str]) -> None:
    assert tuple(mail_server(url)) == server


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com:587",
        "smtp://",
        "smtp://user:word@mail.example.com",
        "smtp://mail.example.com/path",
        "smtp://mail.example.com?tls=no",
        "smtp://mail.example.com#x",
        "smtp://localhost.example.com.",
        "smtp://169.254.169.254:25",
        "smtp://2130706433",
    ],
)
def test_a_server_that_is_not_written_plainly_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        mail_server(url)


def test_secrets_are_shown_as_references_and_urls_by_their_host(tmp_path: Path) -> None:
    more = f"""notify: {{webhook: {{url: "https://hooks.example.com/services/{CANARY}", secret: env:HOOK_SECRET}}}}
heartbeat: {{url: "file:{{here}}/ping"}}
"""
    run = loaded(tmp_path, more, environ={"HOOK_SECRET": CANARY})
    shown = dict(line.split(maxsplit=1) for line in show(run, origin=False))

    assert shown["notify.webhook.url"] == '"https://hooks.example.com/***"'
    assert shown["notify.webhook.secret"] == '"env:HOOK_SECRET"'
    assert shown["heartbeat.url"] == f'"file:{tmp_path}/ping"'
    assert CANARY not in repr(run) + str(shown)


def test_references_know_the_folder_of_the_config(tmp_path: Path) -> None:
    more = EMAIL % "user: 'file:{here}/user', password: 'file:{here}/word'"
    email = loaded(tmp_path, more).config.notify.email

    assert (email.user, email.password) == (f"file:{tmp_path}/user", f"file:{tmp_path}/word")


def test_the_variables_of_all_secrets_are_known(tmp_path: Path) -> None:
    more = EMAIL % "user: env:MAIL_USER, password: env:MAIL_WORD" + "heartbeat: {url: env:PING}\n"
    run = loaded(tmp_path, more, {"notify.webhook.url": "env:HOOK", "notify.webhook.secret": "env:HOOK_SECRET"})

    assert run.secret_variables == {"MAIL_USER", "MAIL_WORD", "PING", "HOOK", "HOOK_SECRET"}


@pytest.mark.parametrize(("mode", "allowed"), [(0o600, True), (0o644, False)])
def test_a_dotenv_that_supplies_such_a_secret_is_private(tmp_path: Path, mode: int, allowed: bool) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"PING=https://example.com/{CANARY}\n")
    dotenv.chmod(mode)
    more = "heartbeat: {url: env:PING}\n"
    if allowed:
        assert loaded(tmp_path, more).environ["PING"].endswith(CANARY)
    else:
        assert "chmod 600" in refused(tmp_path, more)[0]


def test_the_schema_says_what_every_key_is() -> None:
    definitions = schema()["$defs"]
    described = {
        f"{group}.{key}": field.get("description")
        for group in ("Notify", "Webhook", "Email", "Heartbeat")
        for key, field in definitions[group]["properties"].items()
    }

    assert [key for key, text in described.items() if not text] == ["Notify.webhook", "Notify.email"]
    assert all(definitions[group]["description"] for group in ("Webhook", "Email"))
