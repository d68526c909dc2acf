"""A worked example that ships with aioruns: a job that builds a glossary from documents.

It does what long-running jobs do: it takes seconds, has steps, reports progress and warnings, can be cancelled at any
moment, and leaves either whole files or none. Read it in this order:

    job.py        the job itself: five steps, one after the other, and everything that knows about runs
    load.py       step load: which files to read, and what is text in them
    markup.py     Markdown, reStructuredText and docstrings as passages; inline.py takes the markup inside lines away
    extract.py    step extract: which phrases may be technical terms; score.py says which probably are
    define.py     step define: the sentences that say what a term is
    review.py     step review: one definition for each term; faults.py says what is wrong with the others
    write.py      step write: glossary.json and glossary.md
    words.py      what all of them know about English; the documents must be in English

Each step is a plain function of plain data and knows nothing of runs, so it is tested by calling it.
"""

from aioruns.glossary.job import Summary, build_glossary
from aioruns.glossary.load import GlossaryError, check_folder
from aioruns.glossary.write import check_output

__all__ = ["GlossaryError", "Summary", "build_glossary", "check_folder", "check_output"]
