"""The schema's history: ``env.py`` runs the revisions in ``versions``, oldest first.

Belongs here: one file per change to ``broker/store/tables.py``. A revision that was released is
never edited, and imports nothing of the broker's: it must mean the same for ever.
"""
