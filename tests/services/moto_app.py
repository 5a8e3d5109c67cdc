"""moto as a process of its own: an S3 server that takes wrong checksums. `moto_app.py PORT`

Its conditional writes are made atomic, which it does not promise (it checks, then writes), else
there could be no vault in it.
"""

import sys
import threading
from typing import Any

from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3 import responses

lock = threading.Lock()
put_object = responses.S3Response.put_object


def put_alone(self: responses.S3Response) -> Any:
    with lock:
        return put_object(self)


responses.S3Response.put_object = put_alone  # type: ignore[method-assign]
ThreadedMotoServer("127.0.0.1", port=int(sys.argv[1]), verbose=False).start()
threading.Event().wait()
