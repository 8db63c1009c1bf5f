"""The wheel, installed where the checkout cannot be seen, colors a photo from another folder."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    weights = ROOT / "colorizer/weights/fusion_compact/model.safetensors"
    assert weights.is_file(), f"the bundled weights are missing: {weights}"
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """bin/ of an environment with the wheel and this environment's packages, less its editable install.

    Python reads the .pth files of its own site-packages only, so that naming this environment's folder in one there
    brings the packages in, but not the .pth that points to the checkout.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (Path(site.strip()) / "dependencies.pth").write_text("\n".join(packages))
    return python.parent


@pytest.fixture
def folder(tmp_path) -> Path:
    Image.fromarray(skimage.data.astronaut()).convert("L").save(tmp_path / "photo.jpg", quality=95)
    return tmp_path


def run(*args, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run([*map(str, args)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def assert_colored(path):
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (512, 512))
        _, a, b = (channel.getextrema() for channel in image.convert("YCbCr").split())
        assert a[1] - a[0] > 20 and b[1] - b[0] > 20


def test_content(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"colorizer", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}
    for name in ("colorizer/cli.py", "colorizer/models/fusion.py", "colorizer/weights/fusion_compact/config.json"):
        assert name in names
    assert "colorizer/weights/fusion_compact/model.safetensors" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.endswith((".pyc", ".partial"))]
    assert wheel.stat().st_size < 40e6


def test_is_the_installed_one(installed, folder):
    place = run(installed / "python", "-c", "import colorizer; print(colorizer.__file__)", cwd=folder)
    assert Path(place.strip()).is_relative_to(installed.parent)


def test_console_script(installed, folder):
    assert run(installed / "colorizer", "photo.jpg", "-o", "out", cwd=folder).startswith("1 colored in ")
    assert_colored(folder / "out/photo.jpg")
    assert "fusion_compact" in run(installed / "python", "-m", "colorizer", "models", cwd=folder)


def test_three_lines_of_python(installed, folder):
    code = (
        "from colorizer import ColorizationPipeline\n"
        "pipe = ColorizationPipeline.from_pretrained()\n"
        "pipe('photo.jpg').save('color.jpg')\n"
    )
    run(installed / "python", "-c", code, cwd=folder)
    assert_colored(folder / "color.jpg")
