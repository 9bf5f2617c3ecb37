from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.storage.filesystem import NETWORK, refuse_network, type_of

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /home/me nfs4 rw 0 0
tmpfs /home/me/local\\040disk tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/x", "ext4"), ("/home/me/out.state", "nfs4"), ("/home/me/local disk/x", "tmpfs"), ("/home/meadow", "ext4")],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert type_of(Path(path), mounts) == kind


def test_an_unknown_system_is_not_refused(tmp_path: Path) -> None:
    assert type_of(tmp_path, tmp_path / "nothing") is None
    refuse_network(tmp_path, lambda _: None)
    refuse_network(tmp_path)


@pytest.mark.parametrize("kind", sorted(NETWORK))
def test_a_network_file_system_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=rf"network file system \({kind}\).*--state"):
        refuse_network(tmp_path, lambda _: kind)
