"""What is lost together is seen as one: a disk below partitions, LVM and RAID, a file server."""

from __future__ import annotations

import os
import shutil

import pytest

from regvault.errors import StoreError
from regvault.storage.local_facts import disks_of, mount_of, whereabouts

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:50 / /mnt/nas rw shared:1 - nfs4 NAS1:/export/backup rw,vers=4.2
31 22 0:51 / /mnt/nas/deeper rw - nfs4 nas1:/export/other rw
32 22 0:52 / /mnt/share rw - cifs //filer/share rw
33 22 0:53 / /mnt/with\\040space rw - tmpfs tmpfs rw
34 22 253:0 / /over rw - ext4 /dev/mapper/one rw
35 22 253:1 / /over rw - ext4 /dev/mapper/two rw
broken line
"""


@pytest.fixture
def mountinfo(tmp_path):
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/srv/vault", "/dev/sda1"),
        ("/mnt/nasty", "/dev/sda1"),
        ("/mnt/nas/vault", "NAS1:/export/backup"),
        ("/mnt/nas/deeper/vault", "nas1:/export/other"),
        ("/mnt/with space", "tmpfs"),
        ("/over/x", "/dev/mapper/two"),
    ],
)
def test_the_innermost_and_topmost_mount_is_the_one(mountinfo, path, source):
    assert mount_of(path, mountinfo).source == source


def test_without_a_table_of_mounts_the_device_is_what_is_known(tmp_path):
    found = whereabouts(str(tmp_path), mountinfo="/does/not/exist", block="/does/not/exist")
    device = os.stat(tmp_path).st_dev
    assert found.domain == f"file system {os.major(device)}:{os.minor(device)}" == found.bound


def test_two_exports_of_a_server_are_one_domain_and_not_bound_to_each_other(tmp_path):
    def at(directory, source):
        (tmp_path / directory).mkdir()
        table = tmp_path / f"{directory}.mounts"
        table.write_text(f"30 22 0:50 / {tmp_path / directory} rw - nfs4 {source} rw\n")
        return whereabouts(str(tmp_path / directory), mountinfo=str(table))

    one, two = at("one", "NAS1:/a"), at("two", "nas1:/b")
    assert one.domain == two.domain == "server nas1"
    assert one.bound != two.bound
    assert at("three", "//filer/share").domain == "server filer"


def test_directories_of_one_file_system_are_bound_and_are_two_places(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").symlink_to("a")
    a, b, c = (whereabouts(str(tmp_path / name)) for name in "abc")
    assert (a.bound, a.domain) == (b.bound, b.domain)
    assert a.place != b.place
    assert a.place == c.place


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StoreError):
        whereabouts(str(tmp_path / "gone"))


@pytest.fixture
def block(tmp_path):
    """Two disks; sda has two partitions, LVM lies on one, a RAID 1 on sda2 and sdb."""
    devices, numbers = tmp_path / "devices", tmp_path / "block"
    numbers.mkdir()

    def device(path, number, *, slaves=(), partition=False):
        where = devices / path
        where.mkdir(parents=True, exist_ok=True)
        (where / "dev").write_text(f"{number}\n")
        if partition:
            (where / "partition").write_text("1\n")
        (where / "slaves").mkdir()
        for slave in slaves:
            (where / "slaves" / slave.rpartition("/")[2]).symlink_to(devices / slave)
        (numbers / number).symlink_to(where)

    device("sda", "8:0")
    device("sda/sda1", "8:1", partition=True)
    device("sda/sda2", "8:2", partition=True)
    device("sdb", "8:16")
    device("dm-0", "253:0", slaves=["sda/sda1"])
    device("md0", "9:0", slaves=["sda/sda2", "sdb"])
    device("dm-1", "253:1", slaves=["md0"])
    yield str(numbers)
    shutil.rmtree(devices)


@pytest.mark.parametrize(
    ("device", "disks"),
    [
        ("8:0", {"sda"}),
        ("8:1", {"sda"}),
        ("253:0", {"sda"}),
        ("9:0", {"sda", "sdb"}),
        ("253:1", {"sda", "sdb"}),
        ("0:50", set()),
    ],
)
def test_partitions_lvm_and_raid_are_followed_to_their_disks(block, device, disks):
    assert disks_of(device, block) == disks
