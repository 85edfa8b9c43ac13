"""Untrusted requests: the guard in front of every page, and the routes beside the pages. No browser, no NiceGUI."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from osteon.app import guard
from osteon.app import uploads as app_uploads
from osteon.app.guard import COOKIE, AppRules
from osteon.app.routes import routes
from osteon.app.server import NonceExtension, access_rules, page_url
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.errors import OsteonError
from osteon.core.files import write_json
from osteon.web.address import ServerAddress
from osteon.web.guard import Guard

TOKEN = "0123456789abcdef"
LIMIT = 200_000
HERE = "http://localhost:8080"


@pytest.fixture
def app(tmp_path: Path) -> AppState:
    return AppState(Workspace.open(tmp_path / "w"), upload_limit=LIMIT)


def client(app: AppState, rules: AppRules | None = None, base: str = HERE) -> TestClient:
    site = Starlette(routes=routes(app))
    site.add_middleware(Guard, rules=rules or AppRules())
    return TestClient(site, base_url=base, follow_redirects=False)


def begin_upload(http: TestClient) -> str:
    return str(http.post("/api/uploads").json()["id"])


def send(http: TestClient, upload: str, name: str, content: bytes | Iterator[bytes] = b"x") -> tuple[int, str]:
    answer = http.post(f"/api/uploads/{upload}/files", content=content, headers={"X-Osteon-Name": quote(name)})
    return answer.status_code, answer.json().get("message", "")


def everything(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


# Who is answered


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "192.168.1.7:8080", "", "[::2]"])
def test_only_names_of_this_machine_are_answered_to(app: AppState, host: str) -> None:
    answer = client(app).get("/d/x", headers={"Host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9", "LOCALHOST"])
def test_its_own_names_are_answered_to(app: AppState, host: str) -> None:
    assert client(app).get("/d/x", headers={"Host": host}).status_code == 404


def test_another_site_can_send_nothing(app: AppState) -> None:
    http = client(app)
    assert http.post("/api/uploads", headers={"Origin": "https://evil.example"}).status_code == 403
    assert http.post("/api/uploads", headers={"Origin": "null"}).status_code == 403
    assert http.post("/api/uploads", headers={"Origin": HERE}).status_code == 200
    with pytest.raises(WebSocketDisconnect), http.websocket_connect("/x", headers={"Origin": "https://evil.example"}):
        pass


def test_answers_forbid_browsers_other_hosts(app: AppState) -> None:
    headers = client(app).get("/d/x").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "connect-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_scripts_bear_what_nobody_can_know_beforehand() -> None:
    page = Environment(extensions=[NonceExtension]).from_string("<script>own</script>{{ name }}")

    async def shown(request: Request) -> Response:
        return HTMLResponse(page.render(request=request, name="<script>smuggled</script>"))

    site = Starlette(routes=[Route("/", shown)])
    site.add_middleware(Guard, rules=AppRules())
    http, nonces = TestClient(site, base_url=HERE), set()
    for _ in range(3):
        answer = http.get("/")
        scripts = re.search("script-src [^;]*", answer.headers["content-security-policy"])
        assert scripts is not None
        assert "unsafe-inline" not in scripts[0]
        nonce = scripts[0].split("'nonce-")[1].split("'")[0]
        assert answer.text == f'<script nonce="{nonce}">own</script><script>smuggled</script>'
        nonces.add(nonce)
    assert len(nonces) == 3


# The token


def test_a_token_is_asked_for_everywhere(app: AppState) -> None:
    http = client(app, AppRules(TOKEN, local=False, cookie="kept"), "http://far.example")
    for path in ("/", "/data", "/d/x", "/v/x/image.bin", "/_nicegui/x", "/api/uploads"):
        answer = http.get(path)
        assert (answer.status_code, "Token" in answer.text) == (401, True), path
    assert http.post("/api/uploads").status_code == 401
    with pytest.raises(WebSocketDisconnect), http.websocket_connect("/_nicegui_ws/socket.io"):
        pass


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "ä"])
def test_a_wrong_token_is_refused(app: AppState, wrong: str) -> None:
    http = client(app, AppRules(TOKEN, local=False, cookie="kept"))
    answer = http.get("/", params={"token": wrong})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    for cookie in (quote(wrong), TOKEN):  # the cookie is not the token
        assert http.get("/d/x", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_the_right_token_becomes_a_cookie_and_leaves_the_address(app: AppState) -> None:
    http = client(app, AppRules(TOKEN, local=False, cookie="kept"))
    answer = http.get(f"/train?dataset=1&token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/train?dataset=1")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert http.get("/d/x").status_code == 404


def test_the_way_on_never_leads_to_another_host(app: AppState) -> None:
    http = client(app, AppRules(TOKEN, local=False, cookie="kept"))
    answer = http.get(f"http://localhost:8080//evil.example/x?token={TOKEN}")
    assert answer.headers["location"] == "/evil.example/x"


def test_tokens_cannot_be_tried_one_after_the_other(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WRONG_TOKENS_S", 3600.0)
    http = client(app, AppRules(TOKEN, local=False, cookie="kept"))
    codes = [http.get("/", params={"token": f"{n}"}).status_code for n in range(guard.MAX_WRONG_TOKENS)]
    assert set(codes) == {401}
    answer = http.get("/", params={"token": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
    assert http.get("/", params={"token": TOKEN}).status_code == 303, "the right one lets in all the same"
    assert http.get("/d/x", headers={"Cookie": f"{COOKIE}=kept"}).status_code == 404, "who was let in stays in"


def test_each_address_has_its_own_tries(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WRONG_TOKENS_S", 3600.0)
    monkeypatch.setattr(guard, "MAX_ADDRESSES", 3)
    rules = AppRules(TOKEN, local=False, cookie="kept")
    site = Starlette(routes=routes(app))
    site.add_middleware(Guard, rules=rules)

    def wrong(address: str) -> int:
        http = TestClient(site, base_url=HERE, follow_redirects=False, client=(address, 1))
        return http.get("/", params={"token": "x"}).status_code

    assert {wrong(f"2001:db8::{n}") for n in range(1, guard.MAX_WRONG_TOKENS + 1)} == {401}
    assert wrong("2001:db8::ffff") == 429, "a machine has its whole network"
    assert [wrong(address) for address in ("2001:db8:1::1", "10.0.0.1", "10.0.0.2")] == [401, 401, 401]
    assert len(rules.wrong) == 3, "however many addresses there are"


def test_elsewhere_than_on_this_machine_a_token_is_made(app: AppState) -> None:
    workspace = app.workspace
    local, public = ServerAddress("127.0.0.1", 8080), ServerAddress("0.0.0.0", 80)
    assert access_rules(workspace, local) == AppRules()
    assert page_url(local, AppRules()) == "http://localhost:8080/"
    for address, ask_token in ((public, False), (local, True)):
        rules = access_rules(workspace, address, ask_token=ask_token)
        assert len(rules.token) == 32
        assert rules.token not in (rules.cookie, "")
        assert rules.local is address.local
        assert page_url(address, rules).endswith(f"/?token={rules.token}")
    assert access_rules(workspace, local, ask_token=True).token == access_rules(workspace, public).token


# Uploads


def test_files_come_in_and_become_a_source(app: AppState) -> None:
    http = client(app)
    upload = begin_upload(http)
    assert send(http, upload, "Hüfte/a.nii", b"one")[0] == 200
    assert send(http, upload, "Hüfte/b.nii", b"two")[0] == 200
    item = app.uploads.finish(app.uploads.open[upload])
    assert (item.name, (item.path / "Hüfte/b.nii").read_bytes()) == ("Hüfte", b"two")


@pytest.mark.parametrize(
    "name", ["../../evil.nii", "/etc/cron.d/evil", "a/../../evil", "..\\evil.nii", "c:\\evil.nii", ""]
)
def test_tricks_with_paths_are_refused(app: AppState, tmp_path: Path, name: str) -> None:
    http = client(app)
    upload = begin_upload(http)
    before = everything(tmp_path)
    code, message = send(http, upload, name)
    assert code == 422
    assert "name" in message
    assert name not in message or not name
    assert everything(tmp_path) == before


def test_an_odd_name_is_taken_as_a_plain_one(app: AppState) -> None:
    http = client(app)
    upload = begin_upload(http)
    for name in ("ward/T1: sag?.nii", "ward/con", "ward/a\u202eb.nii"):
        assert send(http, upload, name, b"one")[0] == 200
    item = app.uploads.finish(app.uploads.open[upload])
    assert {path.name for path in (item.path / "ward").iterdir()} == {"T1_ sag_.nii", "_con", "a_b.nii"}


def test_an_upload_that_is_too_large_is_stopped_by_the_server(app: AppState, tmp_path: Path) -> None:
    http = client(app)
    upload = begin_upload(http)
    before = everything(tmp_path)
    code, message = send(http, upload, "a.nii", (bytes(10_000) for _ in range(1000)))
    assert (code, message) == (413, "the upload has more than 200 kB")
    assert everything(tmp_path) == before
    assert http.delete(f"/api/uploads/{upload}").status_code == 200
    assert not list((app.workspace.root / "sources").iterdir())


def test_a_zip_bomb_leaves_nothing(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_uploads, "ARCHIVE_SLACK", 1000)
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.nii", bytes(LIMIT - 1))
    http = client(app)
    upload = begin_upload(http)
    assert send(http, upload, "bomb.zip", kept.getvalue())[0] == 200
    with pytest.raises(OsteonError, match="zip bomb"):
        app.uploads.finish(app.uploads.open[upload])
    assert not list((app.workspace.root / "sources").iterdir())


@pytest.mark.parametrize("upload", ["x", "..", "%2e%2e", "0" * 24])
def test_an_upload_that_nobody_began_takes_nothing(app: AppState, tmp_path: Path, upload: str) -> None:
    http = client(app)
    before = everything(tmp_path)
    assert http.post(f"/api/uploads/{upload}/files", content=b"x", headers={"X-Osteon-Name": "a"}).status_code == 404
    assert http.delete(f"/api/uploads/{upload}").status_code in (200, 404)
    assert everything(tmp_path) == before


# What is handed out


def make_export(app: AppState, files: dict[str, bytes]) -> str:
    item = app.workspace.item("exports", "mine")
    item.path.mkdir()
    for name, content in files.items():
        (item.path / name).write_bytes(content)
    return item.id


def test_a_lone_file_is_handed_out_as_it_is(app: AppState) -> None:
    export = make_export(app, {"<b>.stl": b"solid", "exports.json": b"{}"})
    answer = client(app).get(f"/d/{export}")
    assert answer.content == b"solid"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%3Cb%3E.stl"


def test_more_of_them_are_handed_out_as_a_zip(app: AppState) -> None:
    export = make_export(app, {"a.stl": b"one" * 1000, "b.nii.gz": b"two"})
    answer = client(app).get(f"/d/{export}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert {name: found.read(name) for name in found.namelist()} == {"a.stl": b"one" * 1000, "b.nii.gz": b"two"}


def test_a_link_that_leads_outside_is_not_handed_out(app: AppState, tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(b"secret")
    export = make_export(app, {"a.stl": b"one"})
    (app.workspace.root / "exports/mine/b.stl").symlink_to(tmp_path / "private")
    (app.workspace.root / "exports/whole").symlink_to(tmp_path)
    http = client(app)
    assert http.get(f"/d/{export}").content == b"one", "the other file is none of the workspace's"
    assert http.get(f"/d/{app.workspace.item('exports', 'whole').id}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v/SCENE/../../secret",
        "/v/SCENE/..%2f..%2fsecret",
        "/v/SCENE/info.json",
        "/v/../secret",
        "/v/..%2f..%2fw/secret",
        "/d/mine",
        "/d/..",
        "/d/%2e%2e%2fsecret",
        "/report/..%2f..",
        "/report/mine/report.html",
        "/report/EXPORT/a.stl",
        "/report/EXPORT/..%2freport.html",
        "/report/EXPORT/report-0.html",
        "/p/x/y",
        "/s/x/1",
        "/s/x/..%2f1",
    ],
)
def test_no_path_leads_to_a_file(app: AppState, path: str) -> None:
    export = make_export(app, {"a.stl": b"one", "report-0.html": b"no page"})
    scene = app.workspace.root / "cache" / ("0" * 20)
    scene.mkdir()
    write_json(scene / "info.json", {"secret": 1})
    (scene / "poster.png").write_bytes(b"png")
    http = client(app)
    assert http.get(f"/v/{'0' * 20}/poster.png").content == b"png"
    answer = http.get(path.replace("SCENE", "0" * 20).replace("EXPORT", export))
    assert answer.status_code == 404
    assert app.workspace.secret not in answer.content


def test_a_report_is_found_by_its_id_alone(app: AppState) -> None:
    export = make_export(app, {"report.html": b"<p>report"})
    http = client(app)
    assert http.get(f"/report/{export}").text == "<p>report"
    assert json.loads(http.get("/report/mine").text)["hint"] == "reload the page"


def test_the_pages_of_a_report_lead_to_each_other(app: AppState) -> None:
    export = make_export(app, {"report.html": b'<a href="report-2.html">', "report-2.html": b"<p>two"})
    http = client(app)
    answer = http.get(f"/report/{export}")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/report/{export}/report.html")
    assert "report-2.html" in http.get(answer.headers["location"]).text
    assert http.get(urljoin(answer.headers["location"], "report-2.html")).text == "<p>two"
