"""What pyproject.toml cannot say: where the packages are, and that one wheel fits every Python.

CONTRIBUTING.md describes the first under Where the packages are. As to the second: the kernel is
loaded by ctypes and knows nothing of Python, so neither its file nor the wheel is named for one.
"""

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDERS = ("core", "schemas", "worker")


class Library(build_ext):
    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', '/')}.so"


class WheelForEveryPython(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    packages=[
        "marketstate",
        *(
            f"marketstate.{package}"
            for package in find_packages()
            if package.partition(".")[0] in FOLDERS
        ),
    ],
    package_dir={
        "marketstate": "src/marketstate",
        **{f"marketstate.{folder}": folder for folder in FOLDERS},
    },
    cmdclass={"build_ext": Library, "bdist_wheel": WheelForEveryPython},
)
