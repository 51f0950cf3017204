"""Packaging: `pip install .` installs the packages egan and populations and the command egan."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "egan/__init__.py").read_text())[1]

setup(
    name="egan",
    version=VERSION,
    description="Evolution of generative adversarial networks",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["egan", "egan.*", "populations", "populations.*"]),
    package_data={"egan": ["py.typed", "pages/page.*"], "populations": ["py.typed"]},
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "deap>=1.4.4",
        "joblib>=1.5",
        "tensorboard>=2.16",
        "safetensors>=0.4.3",
        "cloudpickle>=3",
        "filelock>=3.12",
        "jsonargparse[signatures]>=4.50",
        "matplotlib>=3.8",
        "pillow>=10",
        "pyyaml>=6",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "threadpoolctl>=3",
        "torchmetrics>=1.6",
        "tqdm>=4.66",
    ],
    extras_require={
        "dask": ["dask>=2025.1", "distributed>=2025.1"],
        "images": ["datasets>=3", "onnx>=1.17", "onnxscript>=0.3", "pyarrow>=15"],
        "inception": ["torch-fidelity>=0.3", "torchvision"],
        "report": ["plotly>=6", "jinja2>=3.1"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "onnxscript>=0.3",
            "pyarrow>=15",
            "ruff>=0.9",
            "mypy>=1.14",
            "dask>=2025.1",
            "distributed>=2025.1",
            "plotly>=6",
            "jinja2>=3.1",
            "prdc==0.2",
        ],
    },
    entry_points={"console_scripts": ["egan=egan.cli:main"]},
)
