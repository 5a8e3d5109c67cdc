"""moto as a process of its own: an S3 server that takes wrong checksums.

    moto_app.py PORT [DAYS]

What is written is so many days old at once. Its conditional writes are made atomic, which it does
not promise (it checks, then writes), else there could be no vault in it.
"""

import sys
import threading
from datetime import timedelta
from typing import Any

from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3 import models, responses

lock = threading.Lock()
put_object = responses.S3Response.put_object


def put_alone(self: responses.S3Response) -> Any:
    with lock:
        return put_object(self)


age = timedelta(days=float(sys.argv[2]) if len(sys.argv) > 2 else 0)
make_key = models.FakeKey.__init__


def make_old(self: models.FakeKey, *args: Any, **kwargs: Any) -> None:
    make_key(self, *args, **kwargs)
    self.last_modified -= age


models.FakeKey.__init__ = make_old  # type: ignore[method-assign]
responses.S3Response.put_object = put_alone  # type: ignore[method-assign]
ThreadedMotoServer("127.0.0.1", port=int(sys.argv[1]), verbose=False).start()
threading.Event().wait()
