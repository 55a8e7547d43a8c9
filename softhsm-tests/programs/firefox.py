"""Firefox opens pages that want a client certificate: firefox.py PROFILE URL…

The PINs to type come from standard input, one a line: each time Firefox asks, the next one goes into its dialog. At an empty line, and
when there are no more, the dialog is cancelled. Prints for each page a line "asked TEXT" for each dialog, a line "address ADDRESS", and a line "text TEXT" with what it says, as JSON.
"""

import json
import os
import socket
import subprocess
import sys
import time

from marionette_driver.errors import UnexpectedAlertOpen
from marionette_driver.marionette import Marionette

PROFILE, *URLS = sys.argv[1:]
PINS = sys.stdin.read().splitlines()
DEADLINE = time.monotonic() + 50

PREFERENCES = {
    "security.default_personal_cert": "Select Automatically",
    "security.tls.version.min": 4,
    # Nothing of Firefox's own on the network.
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disableIPv6": True,
    "security.OCSP.enabled": 0,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "data:,",
}

# Answers each password dialog as a person does: types into its field and presses its button.
ANSWER = """
    const [pins] = arguments;
    Services.obs.addObserver(subject => {
        const answer = () => {
            const document = subject.document;
            const dialog = document.getElementById("commonDialog");
            const text = document.getElementById("infoBody").textContent;
            const pin = pins.shift();
            globalThis.asked.push(text);
            if (!pin) {
                dialog.cancelDialog();
                return;
            }
            const field = document.getElementById("password1Textbox");
            field.value = pin;
            field.dispatchEvent(new subject.Event("input", { bubbles: true }));
            dialog.getButton("accept").disabled = false;
            dialog.acceptDialog();
        };
        subject.setTimeout(answer, 0);
    }, "common-dialog-loaded");
"""
OPEN = """
    const [url] = arguments;
    globalThis.asked = [];
    const { gBrowser } = Services.wm.getMostRecentWindow("navigator:browser");
    gBrowser.selectedBrowser.fixupAndLoadURIString(url, {
        triggeringPrincipal: Services.scriptSecurityManager.getSystemPrincipal(),
    });
"""
SEEN = """
    const { gBrowser } = Services.wm.getMostRecentWindow("navigator:browser");
    const browser = gBrowser.selectedBrowser;
    const done = !browser.webProgress.isLoadingDocument && browser.currentURI.spec == arguments[0];
    const address = browser.browsingContext.currentWindowGlobal.documentURI.spec;
    return { asked: globalThis.asked, done, address };
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def write_preferences(port):
    preferences = dict(PREFERENCES, **{"marionette.port": port})
    with open(os.path.join(PROFILE, "user.js"), "w", encoding="utf-8") as file:
        for name, value in preferences.items():
            file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")


def wait_for(port):
    while time.monotonic() < DEADLINE:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("Firefox does not answer")


def browse(port):
    marionette = Marionette(host="127.0.0.1", port=port)
    marionette.start_session({"unhandledPromptBehavior": "ignore"})
    run_in_chrome(marionette, ANSWER, PINS)
    for url in URLS:
        visit(marionette, url)


def run_in_chrome(marionette, script, argument):
    with marionette.using_context("chrome"):
        return marionette.execute_script(script, [argument], sandbox="system", new_sandbox=False)


def visit(marionette, url):
    run_in_chrome(marionette, OPEN, url)
    seen = None
    while time.monotonic() < DEADLINE:
        try:
            seen = run_in_chrome(marionette, SEEN, url)
        except UnexpectedAlertOpen:
            pass  # A dialog is there and not answered yet: that is ANSWER's work.
        if seen and seen["done"]:
            break
        time.sleep(0.05)
    else:
        sys.exit(f"no page: {seen}")
    for text in seen["asked"]:
        print("asked", text)
    print("address", seen["address"])
    print("text", json.dumps(marionette.execute_script("return document.documentElement.textContent")))


def main(browse=browse):
    port = free_port()
    write_preferences(port)
    options = ["--marionette", "--headless", "--remote-allow-system-access", "--no-remote", "--profile", PROFILE]
    # In the test's own process group: it ends with the test, whatever happens to this program.
    firefox = subprocess.Popen(["firefox-esr", *options], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        wait_for(port)
        browse(port)
    finally:
        firefox.kill()
        firefox.wait()


if __name__ == "__main__":
    main()
