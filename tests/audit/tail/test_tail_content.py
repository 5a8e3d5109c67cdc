"""Whatever is in a file, each of its lines becomes an event that holds it."""

import os

import zstandard
from tailing import compress, old, once

from regvault.audit.formats.fields import derived_id
from regvault.audit.tail.files import fingerprint
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL

LINES = [f"line {n} {'x' * (n % 50)}" for n in range(200)]
NGINX = (
    '10.0.0.7 - ann [20/Nov/2026:03:00:00 +0000] "GET /v2/team/app/manifests/v1 HTTP/1.1" 200 9 '
    '"-" "docker/27"'
)


def test_an_event_says_its_file_in_its_place_and_ids_are_as_documented(site):
    site.write(NGINX, "nothing known")
    site.tail(form="nginx")
    first, second = site.events()
    head = fingerprint(site.log.read_bytes())
    assert first["id"] == derived_id("line", head.digest, "0", NGINX)
    offset = str(len(NGINX) + 1)
    assert second["id"] == derived_id("line", head.digest, offset, "nothing known")
    assert first["file"] == str(site.log)
    assert (first["action"], first["repository"], first["actor"]) == ("pull", "team/app", "ann")
    assert second["action"] == "log"
    for event in (first, second):
        order = [name for name in (*ALWAYS, *OPTIONAL, *PERSONAL) if name in event]
        assert list(event) == order
    assert second["time"][:19] == first["received"][:19]


def test_a_line_without_an_end_waits_for_it(site):
    site.write("first", "sec", end="")
    assert site.tail().lag == 8
    site.write("ond", "third")
    assert site.tail().lag == 0
    site.write("fou", end="")
    assert site.tail().lag == 3
    site.write("rth")
    site.tail()
    once(site.events(), ["firstsecond", "third", "fourth"])


def test_a_growing_file_keeps_its_identity_from_the_first_byte_on(site):
    whole = "".join(f"{line}\n" for line in ["# header", "", *LINES[:20]])
    for char in whole:
        site.write(char, end="")
        if char == "\n":
            site.tail()
    once(site.events(), ["# header", *LINES[:20]])
    grown = {event["id"] for event in site.events()}
    for name in os.listdir(site.state):
        os.unlink(os.path.join(site.state, name))
    site.tail()
    assert {event["id"] for event in site.events()} == grown


def test_members_frames_and_what_is_cut_off(site):
    first, second = "".join(f"{x}\n" for x in LINES[:9]), "".join(f"{x}\n" for x in LINES[9:20])
    one = zstandard.ZstdCompressor().compress(first.encode())
    two = zstandard.ZstdCompressor().compress(second.encode())
    (site.logs / "a.log.1.zst").write_bytes(one + two)
    site.write(*LINES[20:40], path=site.logs / "b.log.1")
    whole = compress(site.logs / "b.log.1", ".gz").read_bytes()
    (site.logs / "b.log.1.gz").write_bytes(whole + whole[:40])
    site.write(*LINES[40:60], path=site.logs / "c.log.1")
    data = compress(site.logs / "c.log.1", ".zst").read_bytes()
    (site.logs / "c.log.1.zst").write_bytes(data[:-3])
    for name in os.listdir(site.logs):
        old(site.logs / name)
    done = site.tail(site.logs / "*")
    assert set(done.unreadable) == {str(site.logs / "b.log.1.gz"), str(site.logs / "c.log.1.zst")}
    assert set(LINES[:40]) <= set(site.raws())
    (site.logs / "c.log.1.zst").write_bytes(data)
    site.tail(site.logs / "*")
    once(site.events(), LINES[:60])


def test_a_part_of_a_line_of_a_container_is_not_lost_by_a_restart(site):
    stamp = "2026-11-20T03:00:00.123456789Z"
    site.write(f"{stamp} stdout F one", f"{stamp} stdout P two ", f"{stamp} stderr F three")
    site.tail(form="cri")
    site.write(f"{stamp} stdout F and more")
    site.tail(form="cri")
    joined = f"{stamp} stdout P two \n{stamp} stdout F and more"
    assert sorted(site.raws()) == sorted(
        [f"{stamp} stdout F one", f"{stamp} stderr F three", joined]
    )
    site.write(f"{stamp} stdout P without an end")
    site.log.rename(site.logs / "app.log.1")
    site.write("new")
    site.tail(form="cri")
    assert f"{stamp} stdout P without an end" in site.raws()


def test_a_header_is_known_after_a_restart(site):
    header = ["#Version: 1.0", "#Fields: date time cs-uri-stem cs-method sc-status"]
    site.write(*header, "2026-11-20\t03:00:00\t/v2/a/manifests/v1\tGET\t200")
    site.tail(form="cloudfront")
    site.write("2026-11-20\t03:00:01\t/v2/a/manifests/v2\tGET\t404")
    site.tail(form="cloudfront")
    assert [(each["tag"], each["status"]) for each in site.events()] == [("v1", 200), ("v2", 404)]


def test_a_very_long_line_is_cut_and_says_so_and_the_next_is_whole(site):
    for size in ((1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20):
        site.write("y" * size, "next")
    site.write("z" * (3 << 20), end="")
    assert site.tail().lag == 3 << 20
    site.write("")
    site.tail()
    events = [each for each in site.events() if each["raw"] != "next"]
    assert [len(each["raw"]) for each in events] == [(1 << 20) - 1, *[1 << 20] * 4]
    assert [each.get("reason") for each in events] == [
        None,
        None,
        *(
            f"a line of {n} bytes, of which 1048576 are kept"
            for n in ((1 << 20) + 1, 5 << 20, 3 << 20)
        ),
    ]
    assert site.raws().count("next") == 4


def test_the_hole_that_truncating_leaves_does_not_hide_the_line_after_it(site):
    with open(site.log, "wb") as file:
        file.truncate(3 << 20)
        file.seek(3 << 20)
        file.write(b"after\n\0within\0\n")
        file.write(b"\0" * 5000 + b"small\n")
    site.tail()
    first, second, third = site.events()
    assert (first["raw"], second["raw"], third["raw"]) == ("after", "\0within\0", "small")
    assert first["reason"] == "3145728 NUL bytes before it are left out"
    assert third["reason"] == "5000 NUL bytes before it are left out"


def test_bytes_that_are_no_utf8_are_kept(site):
    site.log.write_bytes(b"caf\xe9\nca\xc3\xa9\n")
    site.tail()
    first, second = site.events()
    assert (first["raw"], first["raw_base64"]) == ("caf\\xe9", "Y2Fm6Q==")
    assert second["raw"] == "ca\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert "raw_base64" not in second


def test_a_file_whose_name_is_no_utf8_is_read(site):
    path = os.fsencode(site.logs) + b"/\xff.log"
    with open(path, "wb") as file:
        file.write(b"a\n")
    site.tail(site.logs / "*.log")
    assert site.events()[0]["file"].endswith("/\\xff.log")
    assert site.tail(site.logs / "*.log").events == 0
