"""Firefox opens a page that wants a client certificate again and again: firefox_share.py PROFILE URL SECONDS.

As firefox.py does, with PINs from standard input; each time by a new connection. Prints for each page besides "took MILLISECONDS".
When a signature is refused while it makes a connection, Firefox may leave the connection as it is: who waits for the page goes to
another one after a while.
"""

import sys
import time

import firefox

PROFILE, URL, SECONDS = sys.argv[1:]
PATIENCE = 5


def browse(port):
    marionette = firefox.Marionette(host="127.0.0.1", port=port)
    marionette.start_session({"unhandledPromptBehavior": "ignore"})
    firefox.run_in_chrome(marionette, firefox.ANSWER, firefox.PINS)
    end = time.monotonic() + float(SECONDS)
    count = 0
    while (started := time.monotonic()) < end:
        count += 1
        firefox.DEADLINE = started + PATIENCE
        try:
            firefox.visit(marionette, f"{URL}?{count}")
        except SystemExit as gave_up:
            print(f"text {gave_up}")
        print("took", round((time.monotonic() - started) * 1000))


# One connection for each page: the server has one at a time.
firefox.PREFERENCES["network.http.connection-retry-timeout"] = 0
firefox.PREFERENCES["network.http.speculative-parallel-limit"] = 0
firefox.main(browse)
