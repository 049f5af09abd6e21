"""The site of these pages: sphinx-build docs build/docs; it needs no network."""

project = "lbbt_mm"
author = "The lbbt_mm authors"
copyright = f"2026, {author}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]

html_theme = "alabaster"
html_title = "lbbt_mm"
html_theme_options = {
    "description": "Language models as vision backbones, for the OpenMMLab libraries",
    "page_width": "1200px",
    "body_max_width": "920px",
    "fixed_sidebar": True,
}
html_copy_source = False
html_static_path = ["_static"]  # alabaster loads custom.css

# Pages link to files of the repository too, as GitHub shows them.
suppress_warnings = ["myst.xref_missing", "myst.header"]
myst_heading_anchors = 3

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # of named tuples: their fields are members, too
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
