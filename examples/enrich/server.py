"""A server that knows customers 1 to 99, and takes 20 ms for each: `python3 server.py [PORT]`, 8090 without one."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer

TIERS = ["basic", "silver", "gold"]


class Customers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body of a response leave in one packet.
    wbufsize = -1

    def do_GET(self):
        time.sleep(0.02)
        customer = self.path.removeprefix("/customers/")
        is_known = customer.isdigit() and 0 < int(customer) < 100
        body = json.dumps({"tier": TIERS[int(customer) % 3]}) if is_known else "{}"
        self.send_response(200 if is_known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Two hundred connections may come at once.
    request_queue_size = 512

    def handle_error(self, request, client_address):
        """A client that is killed resets its connections."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    with Server(("127.0.0.1", port), Customers) as server:
        print(f"customers at http://127.0.0.1:{server.server_address[1]}/customers", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
