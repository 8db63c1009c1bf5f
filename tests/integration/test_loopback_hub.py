"""The real Hub client against a Hub on loopback: push, strict pull, and everything that goes wrong on the way."""

import tempfile
import time
from pathlib import Path

import pytest
import torch

from colorizer import hub
from colorizer.errors import ColorizerError
from colorizer.models import Colorizer, create_model
from tests.loopback_hub import LoopbackHub

TINY = {"embedder": "test_efficientnet", "embedding": "maps", "width": 4, "decoder_widths": (8, 8, 8)}
TOKEN = "hf_test"
REPO = "tester/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    create_model("fusion", **TINY).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def files(folder):
    """What a repository with the model holds."""
    return {file: (folder / file).read_bytes() for file in ("config.json", "model.safetensors")}


@pytest.fixture
def loopback(monkeypatch, tmp_path):
    """An empty Hub that this process's client talks to, with an empty cache, and nobody logged in."""
    with LoopbackHub() as loopback:
        loopback.use(monkeypatch, tmp_path / "cache")
        yield loopback


def refusal(act, *args, **kwargs) -> str:
    """What is said against it: one sentence, and soon: nobody waits half a minute to hear that there is no network."""
    start = time.monotonic()
    with pytest.raises(ColorizerError) as error:
        act(*args, **kwargs)
    assert time.monotonic() - start < 20  # the client's own retries take 25 s and more
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 400
    return sentence


def asked(loopback, pattern: str) -> list:
    return [request for request in loopback.requests if pattern in request[1]]


# ------------------------------------------------------------------------------------------------- push, and pull


def test_push_then_pull(loopback, folder, files):
    url = hub.push(folder, REPO, token=TOKEN)
    assert url == f"{loopback.endpoint}/{REPO}"
    pushed = loopback.files(REPO)
    assert pushed.items() >= files.items() and pushed.keys() == {*files, "README.md", ".gitattributes"}
    assert f'from_pretrained("{REPO}")' in pushed["README.md"].decode()  # not the folder's card, which knew no name
    assert not loopback.repos[REPO].private

    loopback.requests.clear()
    model = hub.load_model(REPO)
    sha = loopback.repos[REPO].resolve("main").oid
    assert model.source == f"{REPO} @ {sha[:7]}"
    expected = hub.load_model(folder).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    fetched = [path for method, path, *_ in loopback.requests if method == "GET" and "/resolve/" in path]
    assert fetched == [f"/{REPO}/resolve/{sha}/config.json"]  # and the weights from the place that large files have
    assert len([method for method, *_ in asked(loopback, "/__lfs/") if method == "GET"]) == 1

    loopback.requests.clear()
    hub.load_model(REPO)  # nothing is fetched twice
    assert len(loopback.requests) <= 2 and not asked(loopback, "/__lfs/")


def test_push_keeps_a_readme_of_ones_own(loopback, folder, files, tmp_path):
    for file, content in {**files, "README.md": b"---\nlicense: mit\n---\n# Mine\n", "notes.txt": b"x"}.items():
        (tmp_path / file).write_bytes(content)
    hub.push(tmp_path, REPO, token=TOKEN)
    pushed = loopback.files(REPO)
    assert pushed["README.md"] == b"---\nlicense: mit\n---\n# Mine\n"
    assert "notes.txt" not in pushed  # a model is two files and a card


def test_push_keeps_a_card_that_was_edited_on_the_hub(loopback, folder, files, tmp_path):
    """As the mark in it promises; with the mark it is written anew, and a folder's own goes before both."""
    hub.push(folder, REPO, token=TOKEN)
    written = loopback.files(REPO)["README.md"]
    assert hub.CARD_MARK.encode() in written
    mine = written.replace(hub.CARD_MARK.encode(), b"Seen in a dream.")
    loopback.add(REPO, {"README.md": mine})
    hub.push(folder, REPO, token=TOKEN)
    assert loopback.files(REPO)["README.md"] == mine
    hub.push(folder, REPO, token=TOKEN, revision="dev")
    assert loopback.files(REPO, "dev")["README.md"] == mine

    for file, content in {**files, "README.md": b"# A run\n" + hub.RUN_MARK.encode()}.items():
        (tmp_path / file).write_bytes(content)
    hub.push(tmp_path, REPO, token=TOKEN)
    assert loopback.files(REPO)["README.md"] == mine  # the trainer's does not go before it either

    for mark in (hub.CARD_MARK, hub.RUN_MARK):  # the trainer's card tells of another model
        loopback.add(REPO, {"README.md": f"# Ours\n{mark}\n".encode()})
        hub.push(folder, REPO, token=TOKEN)
        assert loopback.files(REPO)["README.md"] == written
    for card in (b"# A run\n" + hub.RUN_MARK.encode(), b"# Ours\n"):
        (tmp_path / "README.md").write_bytes(card)
        hub.push(tmp_path, REPO, token=TOKEN)
        assert loopback.files(REPO)["README.md"] == card


def test_push_a_model(loopback, folder):
    hub.push(hub.load_model(folder), REPO, token=TOKEN, private=True)
    assert loopback.repos[REPO].private
    assert hub.load_model(REPO, token=TOKEN).source.startswith(REPO)


def test_nothing_private_is_pushed_to_a_public_repository(loopback, folder):
    """The Hub leaves a repository that is there already as it is, whatever is asked for."""
    loopback.add(REPO, {"README.md": b"# Mine"})
    sentence = refusal(hub.push, folder, REPO, token=TOKEN, private=True)
    assert "is there already, and public: make it private on the Hub; " in sentence
    assert f"`colorizer push {folder} {REPO} --private` repeats it" in sentence
    assert list(loopback.files(REPO)) == ["README.md"]
    loopback.repos[REPO].private = True
    hub.push(folder, REPO, token=TOKEN, private=True)
    assert "model.safetensors" in loopback.files(REPO)


def test_push_again_and_revisions(loopback, folder, tmp_path):
    """A branch is made when it is pushed to; branch and commit are pulled by name."""
    hub.push(folder, REPO, token=TOKEN)
    first = loopback.repos[REPO].resolve("main").oid
    other = hub.load_model(folder)
    with torch.no_grad():
        other.head[1].bias.fill_(3)
    assert hub.push(other, REPO, token=TOKEN, revision="dev") == f"{loopback.endpoint}/{REPO}/tree/dev"
    assert loopback.repos[REPO].resolve("main").oid == first
    dev = loopback.repos[REPO].resolve("dev").oid
    hub.push(other, REPO, token=TOKEN, commit_message="better")  # main too
    assert loopback.repos[REPO].resolve("main").title == "better"

    assert hub.load_model(REPO, revision="dev").source == f"{REPO} @ {dev[:7]}"
    old = hub.load_model(REPO, revision=first)
    assert old.source == f"{REPO} @ {first[:7]}" and not (old.head[1].bias == 3).any()
    assert (hub.load_model(REPO).head[1].bias == 3).all()
    assert f"{REPO} has no branch, tag or commit 'none'" in refusal(hub.load_model, REPO, revision="none")


def test_mixin(loopback, folder):
    """save_pretrained, push_to_hub and from_pretrained of the model itself."""
    model = Colorizer.from_pretrained(folder)
    model.push_to_hub(REPO, token=TOKEN, branch="dev", private=True)
    assert loopback.repos[REPO].private
    pushed = loopback.files(REPO, "dev")
    assert pushed["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert f'from_pretrained("{REPO}")' in pushed["README.md"].decode()
    pulled = Colorizer.from_pretrained(REPO, revision="dev", token=TOKEN)
    assert pulled.source.startswith(REPO) and not pulled.training
    with pytest.raises(ColorizerError, match="is no colorizer: it has no config.json"):
        Colorizer.from_pretrained(REPO, token=TOKEN)  # main has none


def test_mixin_is_as_careful_as_push(loopback, folder):
    """Of what is public, and of a card that a person has written."""
    model = Colorizer.from_pretrained(folder)
    loopback.add(REPO, {"README.md": b"# Mine"})
    with pytest.raises(ColorizerError, match="is there already, and public: make it private on the Hub"):
        model.push_to_hub(REPO, token=TOKEN, private=True)
    assert list(loopback.files(REPO)) == ["README.md"]
    model.push_to_hub(REPO, token=TOKEN, ignore_patterns="*.md5")
    assert loopback.files(REPO)["README.md"] == b"# Mine" and "model.safetensors" in loopback.files(REPO)
    loopback.add(REPO, {"README.md": hub.CARD_MARK.encode()})
    model.push_to_hub(REPO, token=TOKEN)
    assert f'from_pretrained("{REPO}")' in loopback.files(REPO)["README.md"].decode()


def test_mixin_saves_and_pushes(loopback, folder, tmp_path):
    model = Colorizer.from_pretrained(folder)
    model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id=REPO, token=TOKEN)
    assert (tmp_path / "saved/config.json").read_bytes() == loopback.files(REPO)["config.json"]
    assert f'from_pretrained("{REPO}")' in loopback.files(REPO)["README.md"].decode()


# ------------------------------------------------------------------------------------------------------ tokens


def test_private_needs_the_token(loopback, files, monkeypatch):
    loopback.add(REPO, files, private=True)
    assert "it is private and you must log in" in refusal(hub.load_model, REPO)
    assert "does not accept your token" in refusal(hub.load_model, REPO, token="hf_wrong")
    assert hub.load_model(REPO, token=TOKEN).source.startswith(REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert hub.load_model(REPO).source.startswith(REPO)
    assert "private" in refusal(hub.load_model, REPO, token=False)


def test_push_without_a_token_takes_none_from_the_environment(loopback, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "needs a token" in refusal(hub.push, folder, REPO, token=False)
    assert not loopback.requests


def test_the_token_goes_to_the_hub_alone(loopback, folder):
    hub.push(folder, REPO, token=TOKEN, private=True)
    hub.load_model(REPO, token=TOKEN)
    to_blobs, to_hub = asked(loopback, "/__lfs/"), asked(loopback, REPO)
    assert {method for method, *_ in to_blobs} == {"PUT", "GET"}
    assert all(token is None and host == loopback.blob_host for _, _, token, host in to_blobs)
    assert all(token == f"Bearer {TOKEN}" for _, _, token, _ in to_hub if token is not None) and to_hub


def test_push_that_fails_says_how_to_repeat_it(loopback, folder, monkeypatch):
    assert "needs a token" in refusal(hub.push, folder, REPO)
    again = f"{folder} is as it was, and `colorizer push {folder} {REPO}` repeats it"
    for sentence, says in (
        (refusal(hub.push, folder, REPO, token="hf_wrong"), "does not accept your token"),
        (refusal(hub.push, folder, "other/tiny", token=TOKEN), "does not allow this with other/tiny"),
    ):
        assert says in sentence and again.replace(REPO, "") in sentence.replace(REPO, "").replace("other/tiny", "")
    loopback.fail = [(500, "/commit/main")]
    assert "error (500)" in refusal(hub.push, folder, REPO, token=TOKEN)
    loopback.lie = "portal"
    assert "is not the Hub" in refusal(hub.push, folder, REPO, token=TOKEN)
    loopback.die()
    sentence = refusal(hub.push, folder, REPO, token=TOKEN)
    assert "cannot be reached" in sentence and again in sentence
    branch = refusal(hub.push, folder, REPO, token=TOKEN, private=True, revision="step-500")
    assert f"`colorizer push {folder} {REPO} --private --revision step-500` repeats it" in branch
    assert hub.load_model(folder)


# ------------------------------------------------------------------------------------------------ what is refused


def test_repository_that_is_no_colorizer(loopback, files):
    assert "no folder and no Hub repository tester/none" in refusal(hub.load_model, "tester/none")
    assert "your token has no access" in refusal(hub.load_model, "tester/none", token=TOKEN)
    loopback.add("tester/readme", {"README.md": b"# Nothing"})
    assert "is no colorizer: it has no config.json" in refusal(hub.load_model, "tester/readme")
    loopback.add("tester/pickle", {"config.json": files["config.json"], "pytorch_model.bin": b"\x80\x02."})
    assert "is no colorizer: it has no model.safetensors" in refusal(hub.load_model, "tester/pickle")
    loopback.add("tester/bert", files | {"config.json": b'{"architectures": ["BertModel"]}'})
    assert "tester/bert is no colorizer" in refusal(hub.load_model, "tester/bert")
    loopback.add("tester/remote", files | {"config.json": files["config.json"].replace(b"test_eff", b"hf-hub:x/eff")})
    assert "timm architecture" in refusal(hub.load_model, "tester/remote")
    assert not asked(loopback, "x/eff")
    loopback.add("tester/page", files | {"model.safetensors": b"<!DOCTYPE html><html></html>"})
    assert "is a web page" in refusal(hub.load_model, "tester/page")


def test_the_size_is_asked_before_the_download(loopback, files, monkeypatch):
    loopback.add(REPO, files | {"config.json": b" " * 1_000_001})
    assert f"{REPO}: config.json has 1.0 MB" in refusal(hub.load_model, REPO)
    loopback.add(REPO, files)
    monkeypatch.setitem(hub.FILES, "model.safetensors", 100_000)
    assert f"{REPO}: model.safetensors has 0." in refusal(hub.load_model, REPO)
    assert not asked(loopback, "/resolve/") and not asked(loopback, "/__lfs/")


@pytest.mark.parametrize(
    "lie, says",
    [
        ("wrong", "is not what the Hub says it is (wrong checksum)"),
        ("truncated", "arrived with the wrong size"),
        ("html", "arrived with the wrong size"),
        ("portal", "is not the Hub (a login page or a proxy?), and tester/tiny was not fetched before"),
    ],
)
def test_a_lie_is_not_kept(loopback, files, lie, says):
    loopback.add(REPO, files)
    loopback.lie = lie
    assert says in refusal(hub.load_model, REPO)
    assert says in refusal(hub.load_model, REPO)
    loopback.lie = None
    assert hub.load_model(REPO).source.startswith(REPO)


# ------------------------------------------------------------------------------------------------------ Hub down


@pytest.mark.parametrize("trouble", ["dead", "portal", 503, 429, 408, "offline", "silent"])
def test_hub_down(loopback, files, trouble, monkeypatch, caplog):
    """What was fetched before serves, and the log says why; anything else is refused within seconds."""
    import huggingface_hub.constants

    sha = loopback.add(REPO, files)
    hub.load_model(REPO)
    caplog.clear()
    if trouble == "dead":
        loopback.die()
    elif trouble == "portal":
        loopback.lie = "portal"
    elif isinstance(trouble, int):
        loopback.fail = [(trouble, "/api/models/")] * 3
    elif trouble == "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    else:  # a Hub that takes the call and does not answer
        loopback.delay, loopback.delay_path = 60, "/api/models"
        monkeypatch.setattr(hub, "HUB_TIMEOUT", 0.3)
    start = time.monotonic()
    assert hub.load_model(REPO).source == hub.load_model(REPO, revision=sha).source == f"{REPO} @ {sha[:7]}"
    assert time.monotonic() - start < 20
    warned = [record.getMessage() for record in caplog.records if record.name == "colorizer.hub"]
    assert len(warned) == (0 if trouble == "offline" else 2)
    assert all("is used as it was fetched before" in message for message in warned)
    assert "tester/other was not fetched before" in refusal(hub.load_model, "tester/other")


def test_hub_down_and_another_revision(loopback, files):
    """Each name stands for the commit that it stood for when it was fetched; one that was not, for none."""
    shas = {branch: loopback.add(REPO, files, branch) for branch in ("main", "dev", "new")}
    for branch in ("dev", "main"):
        hub.load_model(REPO, revision=branch)
    loopback.die()
    for branch in ("dev", "main"):
        assert hub.load_model(REPO, revision=branch).source == f"{REPO} @ {shas[branch][:7]}"
    for revision in ("new", shas["new"]):
        sentence = refusal(hub.load_model, REPO, revision=revision)
        assert f"{REPO} was not fetched at the revision {revision} before" in sentence


def test_an_update_that_did_not_arrive(loopback, files, monkeypatch):
    """Until a new commit is there as a whole, the one before serves."""
    old = loopback.add(REPO, files)
    hub.load_model(REPO)
    other = hub.load_model(REPO)
    torch.nn.init.ones_(other.head[1].bias)
    with tempfile.TemporaryDirectory() as scratch:
        other.save_pretrained(scratch)
        new = loopback.add(REPO, {file: (Path(scratch) / file).read_bytes() for file in files})
    loopback.die_at = "/__lfs/"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for _ in range(2):
        assert hub.load_model(REPO).source == f"{REPO} @ {old[:7]}"
    loopback.revive()
    assert hub.load_model(REPO).source == f"{REPO} @ {new[:7]}"


def test_a_commit_that_comes_during_the_download(loopback, files, monkeypatch):
    """Is fetched too, as a whole: its name is in the cache by then."""
    loopback.add(REPO, files)
    newer = []
    checksum = hub._checksum

    def slow(path, large):
        if not newer:
            config = files["config.json"].replace(b'"colorfulness": 1.0', b'"colorfulness": 1.5')
            newer.append(loopback.add(REPO, {"config.json": config}))
        return checksum(path, large)

    monkeypatch.setattr(hub, "_checksum", slow)
    for _ in range(2):
        model = hub.load_model(REPO)
        assert model.source == f"{REPO} @ {newer[0][:7]}" and model.defaults["colorfulness"] == 1.5
        if not loopback.stopped.is_set():
            loopback.die()


def test_a_hub_that_is_gone_when_all_is_there(loopback, files, monkeypatch):
    sha = loopback.add(REPO, files)
    checksum = hub._checksum

    def last(path, large):
        if path.name == "model.safetensors":
            loopback.die()
        return checksum(path, large)

    monkeypatch.setattr(hub, "_checksum", last)
    assert hub.load_model(REPO).source == f"{REPO} @ {sha[:7]}"


def test_a_token_from_a_file(loopback, files):
    """With the end of its line; and the Hub is asked, not the cache alone."""
    loopback.add(REPO, files, private=True)
    sha = loopback.repos[REPO].resolve("main").oid
    assert hub.load_model(REPO, token=f"{TOKEN}\n").source == f"{REPO} @ {sha[:7]}"


def test_slow_hub(loopback, files):
    loopback.add(REPO, files)
    loopback.delay = 0.3
    assert hub.load_model(REPO).source.startswith(REPO)


def test_hub_that_comes_back(loopback, files):
    loopback.add(REPO, files)
    loopback.die()
    assert "cannot be reached" in refusal(hub.load_model, REPO)
    loopback.revive()
    assert hub.load_model(REPO).source.startswith(REPO)


def test_hub_that_dies_while_it_sends(loopback, files, monkeypatch):
    loopback.add(REPO, files)
    loopback.die_at = "/__lfs/"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client tries five times to go on, a second apart
    assert "cannot be reached" in refusal(hub.load_model, REPO)
    loopback.revive()
    assert hub.load_model(REPO).source.startswith(REPO)
