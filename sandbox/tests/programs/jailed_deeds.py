"""A program that does, behind the walls, what its argument names, and reports what came of it."""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
import zlib

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
FIRST = 5
DEEDS = {}


def deed(function):
    DEEDS[function.__name__] = function
    return function


def prepare(argument, descriptors):
    name, _, rest = argument.decode().partition(" ")
    ready = PREPARE.get(name, lambda: None)()
    return name, rest, descriptors, ready


def serve(state, channel):
    name, rest, descriptors, ready = state
    answer = DEEDS[name](channel, rest, descriptors, ready)
    channel.send(repr(answer).encode())


def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return result, errno.errorcode.get(ctypes.get_errno(), "")


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def start_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def fail():
    raise ValueError("prepare failed")


def exhaust():
    return [bytearray(1 << 26) for _ in range(1000)]


def code_page():
    return mmap.mmap(-1, 4096)


def open_more():
    return os.open("/", os.O_RDONLY)


def shared():
    memory = os.memfd_create("shared")
    os.ftruncate(memory, 4096)
    return mmap.mmap(memory, 4096)


PREPARE = {
    "prepare_thread": start_thread,
    "prepare_fails": fail,
    "prepare_exhausts": exhaust,
    "make_page_executable": code_page,
    "use_what_prepare_opened": open_more,
    "use_shared_memory": shared,
}


@deed
def echo(channel, rest, descriptors, ready):
    while True:
        try:
            channel.send(channel.receive())
        except EOFError:
            return


@deed
def say(channel, rest, descriptors, ready):
    return rest


@deed
def read_files(channel, rest, descriptors, ready):
    return [(number, os.pread(number, 10, 0)) for number in descriptors]


@deed
def preadv_file(channel, rest, descriptors, ready):
    room = bytearray(10)
    return os.preadv(descriptors[0], [room], 2), bytes(room)


@deed
def work(channel, rest, descriptors, ready):
    """Much of what a parser does."""
    data = zlib.compress(os.urandom(1000) * 1000)
    table = sorted(range(100000), key=lambda n: n * 7919 % 100003)
    big = [bytes(1 << 20) for _ in range(50)]
    del big
    area = mmap.mmap(-1, 1 << 20)
    area[:5] = b"hello"
    area.close()
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=0.01)
    print("a stray line")
    print("and another", file=sys.stderr)
    sys.__stderr__.write("stray")
    sys.__stderr__.flush()
    time.monotonic(), time.time(), time.process_time()
    try:
        raise KeyError("x")
    except KeyError as error:
        text = repr(error)
    return len(zlib.decompress(data)), len(table), text, os.getpid() > 0


# --- hostile, each a system call that must not be


@deed
def open_file(channel, rest, descriptors, ready):
    return os.open(rest, os.O_RDONLY)


@deed
def import_module(channel, rest, descriptors, ready):
    import wave  # noqa: F401


@deed
def exec_program(channel, rest, descriptors, ready):
    os.execv("/bin/true", ["true"])


@deed
def fork_process(channel, rest, descriptors, ready):
    return os.fork()


@deed
def start_a_thread(channel, rest, descriptors, ready):
    start_thread()


@deed
def make_socket(channel, rest, descriptors, ready):
    socket.socket()


@deed
def signal_parent(channel, rest, descriptors, ready):
    os.kill(int(rest), 0)


@deed
def signal_another(channel, rest, descriptors, ready):
    call(234 if X86 else 131, int(rest), int(rest), 6)


@deed
def signal_itself_otherwise(channel, rest, descriptors, ready):
    call(234 if X86 else 131, os.getpid(), os.getpid(), 15)


@deed
def trace_parent(channel, rest, descriptors, ready):
    call(101 if X86 else 117, 16, int(rest), 0, 0)


@deed
def write_file(channel, rest, descriptors, ready):
    os.write(descriptors[0], b"harm")


@deed
def pwrite_file(channel, rest, descriptors, ready):
    os.pwrite(descriptors[0], b"harm", 0)


@deed
def move_position(channel, rest, descriptors, ready):
    os.lseek(descriptors[0], 5, os.SEEK_SET)


@deed
def read_at_position(channel, rest, descriptors, ready):
    os.read(descriptors[0], 5)


@deed
def preadv_at_position(channel, rest, descriptors, ready):
    os.preadv(descriptors[0], [bytearray(5)], -1)


@deed
def write_input(channel, rest, descriptors, ready):
    os.write(3, b"harm")


@deed
def pread_beyond_files(channel, rest, descriptors, ready):
    os.pread(FIRST + len(descriptors), 1, 0)


@deed
def use_what_prepare_opened(channel, rest, descriptors, ready):
    os.pread(ready, 1, 0)


@deed
def close_output(channel, rest, descriptors, ready):
    os.close(4)


@deed
def copy_descriptor(channel, rest, descriptors, ready):
    os.dup(descriptors[0])


@deed
def map_executable(channel, rest, descriptors, ready):
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


@deed
def make_page_executable(channel, rest, descriptors, ready):
    address = ctypes.addressof(ctypes.c_char.from_buffer(ready))
    call(10 if X86 else 226, address, 4096, 5)


@deed
def map_file(channel, rest, descriptors, ready):
    call(9 if X86 else 222, 0, 4096, 1, 2, descriptors[0], 0)


@deed
def unusual_futex(channel, rest, descriptors, ready):
    call(202 if X86 else 98, 0, 13, 0, 0, 0, 0)


@deed
def raise_limit(channel, rest, descriptors, ready):
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))


@deed
def ignore_limit(channel, rest, descriptors, ready):
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)


@deed
def enter_namespace(channel, rest, descriptors, ready):
    call(272 if X86 else 97, 0x10000000)


@deed
def set_up_ring(channel, rest, descriptors, ready):
    call(425, 8, 0)


@deed
def call_x32(channel, rest, descriptors, ready):
    call(0x40000000 + 39)


@deed
def call_beyond_table(channel, rest, descriptors, ready):
    call(9999)


# --- hostile in other ways


@deed
def spin(channel, rest, descriptors, ready):
    while True:
        pass


@deed
def wait(channel, rest, descriptors, ready):
    channel.receive()


@deed
def eat_memory(channel, rest, descriptors, ready):
    return exhaust()


@deed
def read_nowhere(channel, rest, descriptors, ready):
    ctypes.string_at(0)


@deed
def abort(channel, rest, descriptors, ready):
    os.abort()


@deed
def recurse(channel, rest, descriptors, ready):
    recurse(channel, rest, descriptors, ready)


@deed
def fail_loudly(channel, rest, descriptors, ready):
    raise ValueError("\x1b[31mred\n" + "x" * 5000)


@deed
def leave(channel, rest, descriptors, ready):
    os._exit(int(rest))


@deed
def cut_a_frame(channel, rest, descriptors, ready):
    os.write(4, (1000).to_bytes(4, "little") + b"only this")
    os._exit(0)


@deed
def announce_a_giant(channel, rest, descriptors, ready):
    os.write(4, (1 << 30).to_bytes(4, "little"))
    channel.receive()


@deed
def lie_about_its_end(channel, rest, descriptors, ready):
    words = b"M" + b"\x1b" * 4000
    os.write(4, (len(words) | 1 << 31).to_bytes(4, "little") + words)
    channel.receive()


@deed
def flood(channel, rest, descriptors, ready):
    while True:
        channel.send(bytes(1 << 20))


# --- what single walls stop, with the others left out


@deed
def try_open(channel, rest, descriptors, ready):
    return attempt(os.open, rest, os.O_RDONLY)


@deed
def try_list(channel, rest, descriptors, ready):
    return attempt(os.listdir, rest)


@deed
def try_fork(channel, rest, descriptors, ready):
    pid = attempt(os.fork)
    if pid == 0:
        os._exit(0)
    return pid


@deed
def try_connect(channel, rest, descriptors, ready):
    with socket.socket() as made:
        return attempt(made.connect, ("127.0.0.1", int(rest)))


@deed
def try_write(channel, rest, descriptors, ready):
    return attempt(os.write, os.open(rest, os.O_WRONLY | os.O_CREAT), b"harm")


@deed
def try_signal(channel, rest, descriptors, ready):
    return attempt(os.kill, int(rest), 0)


@deed
def try_become_root(channel, rest, descriptors, ready):
    return attempt(os.setuid, 0), os.getresuid(), os.getresgid(), os.getgroups()


@deed
def status(channel, rest, descriptors, ready):
    lines = open("/proc/self/status").read().splitlines()  # noqa: SIM115
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@deed
def open_descriptors(channel, rest, descriptors, ready):
    found = []
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


@deed
def where_output_goes(channel, rest, descriptors, ready):
    return [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]


@deed
def signals_and_parent(channel, rest, descriptors, ready):
    pdeath = ctypes.c_int()
    libc.prctl(2, ctypes.byref(pdeath))
    handled = [n for n in range(1, 32) if n not in (9, 19) and signal.getsignal(n) is not signal.SIG_DFL]
    return pdeath.value, libc.prctl(3), handled, signal.pthread_sigmask(signal.SIG_BLOCK, ())


@deed
def use_shared_memory(channel, rest, descriptors, ready):
    ready[:4] = b"data"
    return ready[:4]


@deed
def large_buffer_is_on_the_heap(channel, rest, descriptors, ready):
    buffer = (ctypes.c_char * (1 << 20))()
    libc.sbrk.restype = ctypes.c_void_p
    return ctypes.addressof(buffer) < libc.sbrk(0)


@deed
def environment(channel, rest, descriptors, ready):
    return dict(os.environ)
