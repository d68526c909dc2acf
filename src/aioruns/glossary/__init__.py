"""A worked example that ships with aioruns: a job that builds a glossary from documents.

It does what long-running jobs do: it takes seconds, has steps, reports progress and warnings, can be cancelled at any
moment, and leaves either complete files or none. Read it in this order:

    job.py        the job itself: five steps, one after the other, and everything that knows about runs
    load.py       step load: find the files, and read the text in them
    markup.py     cut Markdown, reStructuredText and docstrings into passages; inline.py removes the markup inside lines
    extract.py    step extract: find phrases that may be technical terms; score.py tells which probably are
    define.py     step define: find the sentences that tell what a term is
    review.py     step review: choose one definition for each term; faults.py tells what is wrong with the others
    write.py      step write: glossary.json and glossary.md
    words.py      what all of them know about English; the documents must be in English

Each step is a plain function of plain data and knows nothing about runs, so a test just calls it.
"""

from aioruns.glossary.job import Summary, build_glossary
from aioruns.glossary.load import GlossaryError, check_folder
from aioruns.glossary.write import check_output

__all__ = ["GlossaryError", "Summary", "build_glossary", "check_folder", "check_output"]
