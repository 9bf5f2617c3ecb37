from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.storage.metrics_file import MetricsFile

RUNNING = '# HELP pipeline_running x\n# TYPE pipeline_running gauge\npipeline_running{name="a"} 1\n'


def ended(code: int, success: int | None = None) -> str:
    head = "# HELP pipeline_last_exit_code x\n# TYPE pipeline_last_exit_code gauge\n"
    more = "" if success is None else f'pipeline_last_success_timestamp_seconds{{name="a"}} {success}\n'
    return RUNNING.replace(" 1\n", " 0\n") + head + f'pipeline_last_exit_code{{name="a"}} {code}\n' + more


def test_how_the_last_run_ended_stays_until_the_next_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    MetricsFile(path).write([RUNNING, ended(0, 100)])
    second = MetricsFile(path)
    second.write([RUNNING])
    under_way = path.read_text()
    second.write([ended(4)])

    assert under_way == RUNNING + ended(0, 100).removeprefix(RUNNING.replace(" 1\n", " 0\n"))
    assert 'pipeline_last_exit_code{name="a"} 4\n' in path.read_text()
    assert 'pipeline_last_success_timestamp_seconds{name="a"} 100\n' in path.read_text()
    assert path.read_text().count("pipeline_last_exit_code{") == 1


def test_the_collector_may_read_it_and_sees_nothing_else(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "a.prom").write([RUNNING])

    assert [path.name for path in tmp_path.iterdir()] == ["a.prom"]
    assert (tmp_path / "a.prom").stat().st_mode & 0o777 == 0o644


def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "precious"}\n')

    with pytest.raises(FileExistsError):
        MetricsFile(path).write([RUNNING])
    assert path.read_text() == '{"text": "precious"}\n'
