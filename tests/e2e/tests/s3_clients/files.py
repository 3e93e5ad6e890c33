"""Uses the S3 endpoint as programs do that take objects for files.

Goal: libraries that nobody here wrote read and write objects, with no change but the address of
the endpoint.

Method: each `check_` function uses one library and compares what it reads with what it wrote, or
with what another library wrote. The library is imported in it, so that the program runs where some
are missing; the arguments name the checks.

Usage: files.py S3_URL BUCKET CHECK...

The bucket must exist and be empty. The checks are smart_open, pyarrow, duckdb and s3fs; duckdb
reads what pyarrow wrote. Keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. The exit code is
0 if everything is right.
"""

import os
import pathlib
import sys
import time
import traceback
import urllib.parse
import urllib.request

S3_URL, BUCKET, *CHECKS = sys.argv[1:]
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = "us-east-1"
TEXT = "a line\nand ä second one\n"
# Larger than a part of an upload.
LARGE = os.urandom(1 << 20) * 12
PART_BYTES = 5 << 20
ROWS = 100_000


def check_smart_open():
    """Checks texts, uploads in parts, seeks, and that a write that fails leaves nothing."""
    import boto3
    import smart_open
    import smart_open.s3

    s3 = boto3.client("s3", endpoint_url=S3_URL, region_name=REGION)

    def opened(key, mode, **more):
        given = {"client": s3, **more}
        return smart_open.open(f"s3://{BUCKET}/smart/{key}", mode, transport_params=given)

    with opened("text ä+b", "w") as file:
        file.write(TEXT)
    with opened("text ä+b", "r") as file:
        assert file.readlines() == TEXT.splitlines(keepends=True)
    with opened("large", "wb", min_part_size=PART_BYTES) as file:
        file.write(LARGE)
    with opened("large", "rb") as file:
        file.seek(7_000_000)
        assert file.read(1_000) == LARGE[7_000_000:7_001_000]
        file.seek(0)
        assert file.read() == LARGE
    with opened("one.gz", "wb", multipart_upload=False) as file:
        file.write(TEXT.encode())
    with opened("one.gz", "rb") as file:
        assert file.read() == TEXT.encode()
    try:
        with opened("failed", "wb", min_part_size=PART_BYTES) as file:
            file.write(LARGE)
            raise KeyError
    except KeyError:
        pass
    # This makes clients of its own.
    os.environ.update(AWS_ENDPOINT_URL_S3=S3_URL, AWS_REGION=REGION)
    found = smart_open.s3.iter_bucket(BUCKET, prefix="smart/", workers=2)
    assert {key for key, _ in found} == {"smart/text ä+b", "smart/large", "smart/one.gz"}


def arrow():
    """Returns PyArrow's module of file systems, and two file systems: one that begins an upload in
    parts when a file is opened, and one that writes a small file with one PUT."""
    from pyarrow import fs

    at = urllib.parse.urlsplit(S3_URL)
    given = {"access_key": KEY, "secret_key": SECRET, "region": REGION, "scheme": at.scheme,
             "endpoint_override": at.netloc}
    return fs, [fs.S3FileSystem(**given, allow_delayed_open=delayed) for delayed in (False, True)]


def table(rows, column="a b"):
    """Returns a table of random numbers, which do not become small."""
    import pyarrow

    numbers = [int.from_bytes(os.urandom(8), "big", signed=True) for _ in range(rows)]
    texts = [f"ä{n % 7}" for n in range(rows)]
    return pyarrow.table({"n": range(rows), column: numbers, "text": texts})


def check_pyarrow():
    """Checks files and data sets of Parquet, listings, copies and deletions."""
    import pyarrow.dataset
    import pyarrow.parquet

    fs, systems = arrow()
    for at, system in enumerate(systems):
        for rows in [0, 1_000, ROWS]:
            whole, path = table(rows), f"{BUCKET}/arrow/{at}/{rows} ä+%.parquet"
            pyarrow.parquet.write_table(whole, path, filesystem=system)
            assert pyarrow.parquet.read_table(path, filesystem=system).equals(whole)
            column = pyarrow.parquet.read_table(path, columns=["n"], filesystem=system)
            assert column.equals(whole.select(["n"]))
        # Several parts of 10 MiB, the least that it sends.
        with system.open_output_stream(f"{BUCKET}/arrow/{at}/large") as stream:
            stream.write(LARGE)
        with system.open_input_file(f"{BUCKET}/arrow/{at}/large") as file:
            file.seek(7_000_000)
            assert file.read(1_000) == LARGE[7_000_000:7_001_000]
            assert file.size() == len(LARGE)
        whole, base = table(1_000), f"{BUCKET}/arrow/{at}/set"
        pyarrow.dataset.write_dataset(
            whole, base, filesystem=system, format="parquet", partitioning=["text"],
            partitioning_flavor="hive")
        back = pyarrow.dataset.dataset(base, filesystem=system, partitioning="hive").to_table()
        assert back.sort_by("n").select(["n", "a b"]).equals(whole.select(["n", "a b"]))
        found = system.get_file_info(fs.FileSelector(base, recursive=True))
        assert sum(entry.type == fs.FileType.File for entry in found) == 7, found
        system.copy_file(f"{BUCKET}/arrow/{at}/large", f"{BUCKET}/arrow/{at}/copy ä")
        system.move(f"{BUCKET}/arrow/{at}/copy ä", f"{BUCKET}/arrow/{at}/moved")
        assert system.get_file_info(f"{BUCKET}/arrow/{at}/moved").size == len(LARGE)
        assert system.get_file_info(f"{BUCKET}/arrow/{at}/copy ä").type == fs.FileType.NotFound
        system.delete_dir(base)
        assert system.get_file_info(base).type == fs.FileType.NotFound


def check_duckdb():
    """Checks Parquet and CSV, read and written by DuckDB's own client of S3."""
    import duckdb
    import duckdb_extension_httpfs
    import pyarrow.parquet

    system = arrow()[1][0]
    whole = table(ROWS, "number")
    pyarrow.parquet.write_table(whole, f"{BUCKET}/duck/of arrow+ä.parquet", filesystem=system)
    # DuckDB checks that its makers have signed the extension.
    base = pathlib.Path(duckdb_extension_httpfs.__file__).parent
    extension = next(base.rglob("httpfs.duckdb_extension"))
    db = duckdb.connect()
    db.execute(f"LOAD '{extension}'")
    db.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION '{REGION}', "
        f"ENDPOINT '{urllib.parse.urlsplit(S3_URL).netloc}', URL_STYLE 'path', USE_SSL false)")

    def rows(query):
        return db.execute(query).fetchall()

    numbers = whole["number"].to_pylist()
    read = f"read_parquet('s3://{BUCKET}/duck/of arrow+ä.parquet')"
    assert rows(f"SELECT count(*), sum(n), min(number) FROM {read}") == [
        (ROWS, ROWS * (ROWS - 1) // 2, min(numbers))]
    db.execute(f"COPY (FROM {read}) TO 's3://{BUCKET}/duck/out/one.parquet'")
    db.execute(f"COPY (FROM {read} LIMIT 10) TO 's3://{BUCKET}/duck/out/few.csv'")
    db.execute(f"COPY (FROM {read}) TO 's3://{BUCKET}/duck/parts' (FORMAT parquet, PARTITION_BY text)")
    glob = f"read_parquet('s3://{BUCKET}/duck/parts/*/*.parquet', hive_partitioning = true)"
    assert rows(f"SELECT count(*), count(DISTINCT text) FROM {glob}") == [(ROWS, 7)]
    assert rows(f"SELECT count(*) FROM 's3://{BUCKET}/duck/out/few.csv'") == [(10,)]
    assert pyarrow.parquet.read_table(f"{BUCKET}/duck/out/one.parquet", filesystem=system).equals(whole)


def check_s3fs():
    """Checks files, uploads in parts, listings, copies, deletions and URLs."""
    import s3fs

    system = s3fs.S3FileSystem(
        key=KEY, secret=SECRET, endpoint_url=S3_URL, client_kwargs={"region_name": REGION})
    base = f"{BUCKET}/s3fs"
    names = ["a b", "a+b", "a%41b", "ä/ö", "d/e/f"]
    for name in names:
        with system.open(f"{base}/{name}", "w") as file:
            file.write(name)
    assert system.find(base) == sorted(f"{base}/{name}" for name in names)
    system.invalidate_cache()
    assert sorted(system.ls(base, detail=False)) == sorted(
        f"{base}/{name.split('/')[0]}" for name in names)
    assert {name: system.cat(f"{base}/{name}").decode() for name in names} == {
        name: name for name in names}
    with system.open(f"{base}/large", "wb", block_size=PART_BYTES) as file:
        file.write(LARGE)
    with system.open(f"{base}/large", "rb") as file:
        file.seek(7_000_000)
        assert file.read(1_000) == LARGE[7_000_000:7_001_000]
    with system.open(f"{base}/large", "ab") as file:
        file.write(b"end")
    assert system.cat(f"{base}/large") == LARGE + b"end"
    system.copy(f"{base}/large", f"{base}/copy ä")
    system.mv(f"{base}/copy ä", f"{base}/moved")
    assert system.info(f"{base}/moved")["size"] == len(LARGE) + 3
    system.pipe({f"{base}/many/{at}": b"x" for at in range(200)})
    assert len(system.glob(f"{base}/many/1*")) == 111
    with urllib.request.urlopen(system.sign(f"{base}/a+b")) as answer:
        assert answer.read() == b"a+b"
    system.rm(base, recursive=True)
    system.invalidate_cache()
    assert not system.exists(base)


def passes(name):
    """Runs a check, and returns true if it passes. Prints its time, or the reason if it fails."""
    since = time.monotonic()
    try:
        globals()[f"check_{name}"]()
    except Exception:
        print(f"FAILED {name}\n{traceback.format_exc(limit=-3)}", file=sys.stderr)
        return False
    print(f"{name}: {time.monotonic() - since:.1f} s")
    return True


if __name__ == "__main__":
    sys.exit(0 if all([passes(name) for name in CHECKS]) else 1)
