"""Servers of a few lines, to be run as `python -c SOURCE HOST PORT`: each does one thing that a server may do."""

from __future__ import annotations

_HTTP = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
def serve():
    http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
print("hello from", os.getpid(), flush=True)
"""

ANSWERS = f"{_HTTP}serve()"
EXITS_3 = """
import os, select, time
select.select([], [], [], 0.3)
print("cannot load", time.time(), flush=True)
os._exit(3)
"""
SILENT = """
import signal, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
kept = [listener.accept()]
signal.pause()
"""
KILLED = "import os, signal\nprint('about to die', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{ANSWERS}"
TALKS = """
import itertools, select
for number in itertools.count():
    print("line", number, flush=True)
    select.select([], [], [], 0.02)
"""
# A child of a child in a session of its own, without an environment: neither group, parent nor mark leads to it, and
# its standard output is not the server's.
LEAVES_ORPHAN = f"""{_HTTP}
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("orphan", os.getpid(), flush=True)
        silence = os.open(os.devnull, os.O_RDWR)
        os.dup2(silence, 1); os.dup2(silence, 2)
        os.execve(sys.executable, [sys.executable, "-S", "-c", "import signal; signal.pause()"], {{}})
    os._exit(0)
serve()
"""
LEAVES_STUBBORN_ORPHAN = LEAVES_ORPHAN.replace(
    "signal.pause()", "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
)
# Writes so many MiB in its third argument as fast as it can, and then serves.
FLOODS = f"""{_HTTP}
print("first line", flush=True)
line = b"x" * 1023 + b"\\n"
for _ in range(int(sys.argv[3])):
    sys.stdout.buffer.write(line * 1024)
print("last line", flush=True)
serve()
"""
