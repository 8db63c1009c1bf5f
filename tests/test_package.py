"""The package as others import it: light, lazy, and independent of what only the page and the trainer need."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import colorizer

ROOT = Path(__file__).parents[1]


def modules_after(code: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter holds after running the code."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    return set(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).splitlines()[-1].split())


def test_import_is_light():
    heavy = {"torch", "timm", "numpy", "PIL", "skimage", "huggingface_hub", "gradio", "accelerate"}
    assert not modules_after("import colorizer; colorizer.__version__; dir(colorizer)") & heavy
    assert not modules_after("from colorizer import ColorizerError") & heavy


def test_command_line_is_light_until_it_works():
    assert not modules_after("import colorizer.cli") & {"torch", "timm", "numpy", "gradio", "accelerate"}
    assert "torch" not in modules_after("import colorizer.images")


def test_package_needs_neither_page_nor_trainer():
    modules = "\n".join(f"import colorizer.{path.stem}" for path in (ROOT / "colorizer").glob("*.py"))
    modules = modules.replace("import colorizer.__main__", "import colorizer.models")
    loaded = modules_after(modules)
    assert "torch" in loaded
    assert not loaded & {"gradio", "accelerate", "train", "app", "spaces", "matplotlib"}


@pytest.mark.parametrize("name", colorizer.__all__)
def test_public_names(name):
    assert name in dir(colorizer)
    value = getattr(colorizer, name)
    assert value is getattr(colorizer, name)
    if name != "__version__":
        assert value.__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'colorise'"):
        _ = colorizer.colorise


def test_version_is_the_project_s():
    assert colorizer.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
