"""`pump console`, asked over HTTP: what it tells, to whom, and what it never tells."""

import json
import re
import socket
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.cli.main import main
from tests.acceptance.consoles import (
    SECRET,
    SHOWN,
    Scene,
    Visitor,
    ended,
    letter_of,
    running_console,
)
from tests.waiting import eventually

#: Handlers that any process finds.
HERE = "tests.conformance.executor_handlers"


class TestWhatItTells:
    def test_a_conversation(self, scene: Scene) -> None:
        """Every run, where, which try; who called whom; a failure by its code."""
        told = ended(scene, scene.ask("split", 4))
        runs = told["runs"]
        assert [run["listener"] for run in runs if run["depth"] == 0] == ["split", "split"]
        works = [run for run in runs if run["listener"] == "work"]
        assert sorted((run["attempt"], run["error"]) for run in works) == [
            (1, ""),
            (1, ""),
            (2, ""),
            (2, "raised"),
        ]
        assert all(":" in run["place"] for run in runs)
        edges = {(each["source"], each["target"]): each for each in told["edges"]}
        assert edges["split", "work"]["calls"] == 4
        assert edges["split", "work"]["failures"] == 1
        assert edges["external", "split"]["calls"] == 1
        caller = scene.console.get("messages", thread=runs[0]["thread"])
        (fault,) = (fault for message in caller for fault in message["payload"]["faults"])
        assert (fault["listener"], fault["code"], fault["raised"]) == (
            "work",
            "raised",
            "ValueError",
        )
        assert re.fullmatch(r"asks\.py:\d+ in work", fault["where"])
        row = told["row"]
        assert (row["state"], row["hops"], row["failures"], row["retries"]) == ("answered", 6, 1, 2)

    def test_messages_without_values(self, scene: Scene) -> None:
        """Class, size, fields and their types; a value where the field was named."""
        told = ended(scene, scene.ask("split", 1))
        (message, *_) = scene.console.get("messages", thread=told["runs"][0]["thread"])
        fields = {each["name"]: each for each in message["payload"]["fields"]}
        assert message["payload"]["type"] == "asks.Ask"
        assert [fields[name]["type"] for name in ("n", "secret", "shown")] == [
            "int",
            "text",
            "text",
        ]
        assert fields["secret"]["size"] == f"{len(SECRET)} characters"
        assert [fields[name]["value"] for name in ("n", "secret", "shown")] == [None, None, SHOWN]

    def test_what_whoever_asked_was_told(self, scene: Scene) -> None:
        """A conversation that failed says why, without the handler's words."""
        told = ended(scene, scene.ask("work", 2))
        assert told["row"]["state"] == "failed"
        (fault,) = told["faults"]
        assert (fault["raised"], fault["attempt"], fault["message"]) == ("ValueError", 2, None)

    def test_lists_are_paged_and_found(self, scene: Scene) -> None:
        """By state, by part of an id, by listener, by a thread below."""
        first, second = (scene.ask("split", 1) for _ in range(2))
        told = ended(scene, first)
        ended(scene, second)
        page = scene.console.get("conversations", limit=1)
        assert len(page["rows"]) == 1
        assert page["next"] == 1
        following = scene.console.get("conversations", limit=1, offset=1)
        assert following["rows"][0]["id"] != page["rows"][0]["id"]
        thread = next(run["thread"] for run in told["runs"] if run["listener"] == "work")
        for text in (first, first[3:20], thread):
            rows = scene.console.get("conversations", q=text)["rows"]
            assert [row["id"] for row in rows] == [first], text
        rows = scene.console.get("conversations", q="wor", state="answered")["rows"]
        assert {first, second} <= {row["id"] for row in rows}
        assert scene.console.get("conversations", q=first, state="failed")["rows"] == []
        assert scene.console.ask("/api/conversations", state="odd")[0] == 400
        assert scene.console.ask("/api/conversations", offset="-1")[0] == 400

    def test_the_stream_tells_all_sections(self, scene: Scene) -> None:
        """Workers and pumps with leases, listeners with durations, counts."""
        ended(scene, scene.ask("split", 2))
        wanted = {"redis", "standing", "rates", "listeners", "pumps", "workers", "marks"}
        told = scene.console.sections(wanted)
        assert told["redis"] == {"away": ""}
        assert told["standing"]["counts"]["hops"] >= 4
        (worker,) = told["workers"]
        # One of the two may just have been killed by a test's handler.
        assert (worker["processes"] in (1, 2), worker["lacks"]) == (True, [])
        assert worker["runs"] == ["work", "deadly"]
        assert -1 <= worker["left_s"] <= 3
        assert told["pumps"]
        listeners = {each["name"]: each for each in told["listeners"]}
        assert listeners["split"]["workers"] is None
        assert listeners["work"]["workers"] == 1
        assert listeners["split"]["runs"] >= 2
        assert 0 < listeners["split"]["median_s"] <= listeners["split"]["longest_s"]

    def test_dead_letters(self, scene: Scene) -> None:
        """With why and whom they killed; replayed once they can run, or dropped."""
        first, second = scene.ask("deadly", 1), scene.ask("deadly", 2)
        assert len(ended(scene, first)["letters"]) == 1
        ended(scene, second)
        rows = {each["id"]: each for each in scene.console.get("conversations", q="deadly")["rows"]}
        assert rows[first]["listeners"] == ["deadly"]
        assert rows[first]["failures"] == 1
        assert rows[first]["started"]
        (run,) = ended(scene, first)["runs"]
        assert (run["listener"], run["error"], run["attempt"]) == ("deadly", "worker_lost", 1)
        told = scene.console.sections({"listeners"})["listeners"]
        (fared,) = (each for each in told if each["name"] == "deadly")
        assert fared["failures"] >= 1
        letter, other = letter_of(scene, first), letter_of(scene, second)
        (facts,) = (e for e in scene.console.get("letters")["rows"] if e["id"] == letter)
        assert (facts["listener"], facts["code"]) == ("deadly", "worker_lost")
        assert facts["why"] == "Its handler killed its worker once (SIGKILL)."
        assert len(facts["history"]) == 1
        (scene.folder / "mended").touch()
        try:
            assert scene.console.do("replay", letter) == 200
            assert scene.console.do("replay", letter) == 404
            assert eventually(lambda: len(ended(scene, first)["runs"]) == 2, timeout_s=20)
        finally:
            (scene.folder / "mended").unlink()
        assert scene.console.do("drop", other) == 200
        assert scene.console.do("drop", other) == 404
        letters = {each["id"] for each in scene.console.get("letters")["rows"]}
        assert not letters & {letter, other}
        # Other consoles may have written logs beside this one's.
        logs = "".join(
            each.read_text() for each in scene.folder.glob("console-organism.yaml.*.log")
        )
        assert f"dead letter replayed action=replay letter_id={letter}" in logs
        assert f"dead letter dropped action=drop letter_id={other}" in logs

    def test_no_value_leaves(self, scene: Scene) -> None:
        """Not in any answer, nor in the stream, whatever handlers raise."""
        alive, dead = scene.ask("split", 4), scene.ask("deadly", 1)
        told = ended(scene, alive)
        ended(scene, dead)
        visitor = scene.console
        threads = {run["thread"] for run in told["runs"]}
        answers = [told, visitor.get("conversation", id=dead)]
        answers += [visitor.get("messages", thread=thread) for thread in threads]
        answers += [visitor.get(path) for path in ("conversations", "letters", "underway")]
        answers.append(visitor.sections({"standing", "listeners", "marks"}))
        texts = list(map(json.dumps, answers))
        texts += [path.read_text(errors="replace") for path in scene.folder.glob("console*.log")]
        assert not [text for text in texts if "planted" in text]
        assert any(SHOWN in text for text in texts)


class TestWhoIsLetIn:
    def test_nobody_without_the_token(self, scene: Scene) -> None:
        """No question is answered, no action done; the page itself holds nothing."""
        stranger = Visitor(scene.console.url)
        for path in ("conversations", "letters", "underway", "events", "session", "nothing"):
            assert stranger.ask(f"/api/{path}")[0] == 401, path
        assert stranger.ask("/api/letters/drop", {"letter": "x"})[0] == 401
        wrong = Visitor(scene.console.url, "x" * len(scene.console.token))
        assert wrong.ask("/api/letters")[0] == 401
        assert stranger.ask("/api/session", {"token": "wrong"})[0] == 401
        status, page, _ = stranger.ask("/")
        assert status == 200
        assert scene.console.token not in page

    def test_the_token_becomes_a_cookie(self, scene: Scene) -> None:
        """Which scripts can't read and other sites can't send, and which is not the token."""
        stranger = Visitor(scene.console.url)
        status, _, headers = stranger.ask("/api/session", {"token": scene.console.token})
        assert status == 200
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
        assert scene.console.token not in cookie
        assert stranger.ask("/api/letters", headers={"Cookie": cookie})[0] == 200
        assert stranger.ask("/api/letters", headers={"Cookie": f"{cookie}x"})[0] == 401
        assert "Secure" not in attributes
        over_tls = {"Origin": scene.console.url.replace("http:", "https:")}
        token = {"token": scene.console.token}
        _, _, headers = stranger.ask("/api/session", token, headers=over_tls)
        assert headers["set-cookie"].endswith("; Secure")

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Pump-Console": "0"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
        ],
        ids=str,
    )
    def test_no_other_site_acts(self, scene: Scene, headers: dict[str, str]) -> None:
        """Even with the cookie, which a browser would not send."""
        body = {"letter": "x"}
        assert scene.console.ask("/api/letters/drop", body, headers=headers)[0] == 403

    def test_no_other_site_asks(self, scene: Scene) -> None:
        """A page at another port of this host is sent the cookie too, and may not use it."""
        for path in ("/api/letters", "/api/events", "/api/session"):
            for site in ("same-site", "cross-site"):
                assert scene.console.ask(path, headers={"Sec-Fetch-Site": site})[0] == 403, path
        for site in ("same-origin", "none"):
            asked = scene.console.ask("/api/letters", headers={"Sec-Fetch-Site": site})
            assert asked[0] == 200, site

    def test_names_that_lead_here_are_refused(self, scene: Scene) -> None:
        """As a name would that its owner has made ours."""
        port = scene.console.url.rpartition(":")[2]
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
            for path in ("/", "/api/letters", "/static/main.js"):
                assert scene.console.ask(path, headers={"Host": host})[0] == 421, host
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert scene.console.ask("/api/letters", headers={"Host": host})[0] == 200, host

    def test_every_answer_has_a_strict_policy(self, scene: Scene) -> None:
        """Scripts and styles from here alone, none of them inline."""
        for path in ("/", "/static/main.js", "/api/letters", "/nothing"):
            headers = scene.console.ask(path)[2]
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
        assert scene.console.ask("/static/../command.py")[0] == 404
        assert scene.console.ask("/static/%2e%2e/command.py")[0] == 404

    def test_what_is_asked_has_bounds(self, scene: Scene) -> None:
        """A body that is too large or no object is refused."""
        for body in ({"letter": "x" * 5000}, {"other": "x"}):
            assert scene.console.ask("/api/letters/drop", body)[0] == 400
        assert scene.console.ask("/api/conversation", id="x" * 2000)[0] == 400
        assert scene.console.ask("/api/conversation", id="nobody")[0] == 404

    def test_read_only(self, scene: Scene) -> None:
        """Is kept by the server, not by the page; and a token may be set."""
        token = "a-token-of-ones-own-choice"
        with running_console(
            scene.folder, "--read-only", "--allow-host", "ops.example", token=token
        ) as visitor:
            assert visitor.get("session")["read_only"] is True
            for what in ("replay", "drop"):
                assert visitor.do(what, "x") == 403
            assert visitor.ask("/api/letters", headers={"Host": "ops.example"})[0] == 200


class TestTheCommand:
    def test_memory_needs_another_backend(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says which, and what is the matter."""
        listener = {"name": "echo", "handler": f"{HERE}.echo", "payload_class": f"{HERE}.Task"}
        file = tmp_path / "organism.yaml"
        file.write_text(yaml.safe_dump({"organism": {"name": "x"}, "listeners": [listener]}))
        assert main(["console", str(file)]) == 2
        assert "this command needs redis" in capsys.readouterr().err

    def test_a_taken_port_is_named(self, scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
        """With the way out."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert main(["console", str(scene.folder / "organism.yaml"), "--port", port]) == 1
        told = capsys.readouterr().err
        assert f"can't listen at 127.0.0.1:{port}" in told
        assert "--port" in told

    def test_a_missing_package_is_named(
        self, scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the extra that brings it."""
        # What an import finds in an installation without the extra.
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        assert main(["console", str(scene.folder / "organism.yaml")]) == 1
        assert "pip install 'celery-pump[console]'" in capsys.readouterr().err
