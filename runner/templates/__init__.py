"""Prompts, parameters and conditions written in Jinja2, rendered in a metered sandbox.

The map: ``template`` compiles and renders, ``prompts`` lets one prompt use another, ``record`` is how data looks from inside,
``filters`` is the table of our own filters; ``sandbox``, ``meter``, ``guards`` say what a template may do and how much of it;
``syntax`` and ``reference`` find what it asks for; ``failures`` puts what went wrong into words. Importing this loads no Jinja2.
"""

from runner.templates.filters import FILTERS, Filter
from runner.templates.prompts import PromptBook
from runner.templates.record import Record
from runner.templates.reference import Reference
from runner.templates.template import Template, Templates

__all__ = ["FILTERS", "Filter", "PromptBook", "Record", "Reference", "Template", "Templates"]
