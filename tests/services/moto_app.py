"""moto as a process of its own: an S3 server that takes wrong checksums.

    moto_app.py PORT [DAYS]

What is written is so many days old at once. Its conditional writes are made atomic, which it does
not promise (it checks, then writes), else there could be no vault in it. It keeps lifecycle rules
and never follows them: at SIGUSR1 it does, as S3 does every day, for transitions by prefix and tag
of what is 128 KiB or larger.
"""

import signal
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
    if "/locks/" not in str(self.name):  # what a tiering says of a vault is forgotten after 30 days
        self.last_modified -= age


def follow_rules(*_: Any) -> None:
    for backends in models.s3_backends.values():
        for backend in backends.values():
            for bucket in backend.buckets.values():
                for rule in bucket.rules:
                    follow(backend, bucket, rule)


def follow(backend: models.S3Backend, bucket: models.FakeBucket, rule: Any) -> None:
    condition = rule.filter and rule.filter.and_filter
    if rule.status != "Enabled" or condition is None:
        return
    for key in list(bucket.keys.values()):
        if isinstance(key, models.FakeKey) and key.name.startswith(condition.prefix):
            tags = backend.tagger.get_tag_dict_for_resource(key.arn)
            if key.size >= 128 << 10 and condition.tags.items() <= tags.items():
                for step in rule.transitions:
                    key.set_storage_class(step.storage_class)


signal.signal(signal.SIGUSR1, follow_rules)
models.FakeKey.__init__ = make_old  # type: ignore[method-assign]
responses.S3Response.put_object = put_alone  # type: ignore[method-assign]
ThreadedMotoServer("127.0.0.1", port=int(sys.argv[1]), verbose=False).start()
threading.Event().wait()
