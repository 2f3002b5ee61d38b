"""`pump console`: a page that shows conversations, dead letters and the fleet, live.

`survey` reads Redis, `facts` say what a page shows of it, `redaction` what it may show of a
payload, `desk` answers questions, `live` tells changes, `access` lets people in, `web` is HTTP,
and `static/` the page.
"""
