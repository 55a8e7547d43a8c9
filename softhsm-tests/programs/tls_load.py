"""TLS clients in parallel, each handshake a full one: tls_load.py PORT AUTHORITY STOP-FILE

Prints a line for each connection, "ok WORKER KEY" or "failed WHY", until the file STOP-FILE is there, and "done" at last.
"""

import os
import socket
import ssl
import sys
import threading

PORT, AUTHORITY, STOP = int(sys.argv[1]), sys.argv[2], sys.argv[3]
REQUEST = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
PRINTING = threading.Lock()


def context(version, ciphers=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(AUTHORITY)
    made.minimum_version = made.maximum_version = version
    if ciphers:
        made.set_ciphers(ciphers)
    return made


# By the cipher a client of TLS 1.2 says which of the two keys is to sign.
CLIENTS = 2 * [
    ("RSA", context(ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256")),
    ("EC", context(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")),
    ("TLS1.3", context(ssl.TLSVersion.TLSv1_3)),
]


def say(line):
    with PRINTING:
        print(line, flush=True)


def connect(made):
    """The worker that answered."""
    answer = b""
    with socket.create_connection(("127.0.0.1", PORT), timeout=10) as plain:
        with made.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(REQUEST)
            while part := connection.recv(4096):
                answer += part
    for line in answer.split(b"\r\n"):
        if line.startswith(b"X-Worker: "):
            return int(line[10:])
    raise ConnectionResetError("no answer")


def client(name, made):
    while not os.path.exists(STOP):
        try:
            say(f"ok {connect(made)} {name}")
        # Python has OpenSSL tell an end without close_notify as if there had been one: SSLZeroReturnError.
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            say(f"failed lost {name} {error!r}")
        except Exception as error:  # a refused handshake, a timeout: whatever it is, the test wants to know
            say(f"failed refused {name} {error!r}")


threads = [threading.Thread(target=client, args=one) for one in CLIENTS]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
say("done")
