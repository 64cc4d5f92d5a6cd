"""What pyproject.toml cannot say: the folders core, schemas and worker are packages of marketstate.

CONTRIBUTING.md, Where the packages are, describes how.
"""

from setuptools import find_packages, setup

FOLDERS = ("core", "schemas", "worker")

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
)
