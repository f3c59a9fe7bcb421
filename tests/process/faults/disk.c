/* Stands between a process and the C library (LD_PRELOAD): counts the calls that change what is
 * below one folder, and lets one of them fail, or hang, or lets the disk stand still from there on,
 * as a kill -9 leaves it. Python's, NumPy's and TensorFlow's calls all come by here.
 * What to do is in the file named by FAULTS, shared with the test: struct control below. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
  int64_t at;      /* the call, from 1, that goes wrong; 0: none */
  int64_t number;  /* errno that it fails with; 0: it is torn, and nothing after it is done;
                    * -1: it never returns */
  int64_t count;   /* calls so far */
  int64_t dead;    /* whether the disk stands still */
  char folder[1024]; /* empty: nothing is counted */
  char last[64];   /* the name of the call that went wrong */
};

static struct control *control(void) {
  static struct control *mapped;
  if (!mapped && getenv("FAULTS")) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = real(getenv("FAULTS"), O_RDWR);
    if (fd < 0) abort();
    mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) abort();
    close(fd);
  }
  return mapped;
}

static int below(const char *path) {
  size_t length = strlen(control()->folder);
  return strncmp(path, control()->folder, length) == 0;
}

static int fd_below(int fd) {
  char name[64], path[PATH_MAX];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(name, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return below(path);
}

static int at_below(int fd, const char *path) {
  return path[0] == '/' || fd == AT_FDCWD ? below(path) : fd_below(fd);
}

/* 0: the call is to be done; else it fails with errno. -1: it is to be done half, if it can be. */
static int verdict(const char *name) {
  struct control *c = control();
  if (c->dead) { errno = EIO; return 1; }
  if (__atomic_add_fetch(&c->count, 1, __ATOMIC_SEQ_CST) != c->at) return 0;
  strncpy(c->last, name, sizeof c->last - 1);
  while (c->number < 0) pause();
  if (c->number) { errno = c->number; return 1; }
  c->dead = 1;
  errno = EIO;
  return -1;
}

static int on(void) { return control() && control()->folder[0]; }

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN(name, parameters, where, ...)                                   \
  int name parameters {                                                      \
    mode_t mode = 0;                                                         \
    if (flags & (O_CREAT | O_TMPFILE)) {                                     \
      va_list rest;                                                          \
      va_start(rest, flags);                                                 \
      mode = va_arg(rest, mode_t);                                           \
      va_end(rest);                                                          \
    }                                                                        \
    REAL(name);                                                              \
    if (on() && flags & (O_CREAT | O_TRUNC) && where && verdict(#name)) return -1; \
    return real(__VA_ARGS__, flags, mode);                                   \
  }
OPEN(open, (const char *path, int flags, ...), below(path), path)
OPEN(open64, (const char *path, int flags, ...), below(path), path)
OPEN(openat, (int fd, const char *path, int flags, ...), at_below(fd, path), fd, path)
OPEN(openat64, (int fd, const char *path, int flags, ...), at_below(fd, path), fd, path)

#define FOPEN(name)                                                                  \
  FILE *name(const char *path, const char *mode) {                                   \
    REAL(name);                                                                      \
    if (on() && mode[0] != 'r' && below(path) && verdict(#name)) return NULL;        \
    return real(path, mode);                                                         \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  if (on() && fd_below(fd)) {
    int found = verdict("write");
    if (found < 0) real(fd, data, size / 2);
    if (found) { errno = control()->number ? (int)control()->number : EIO; return -1; }
  }
  return real(fd, data, size);
}

/* A stream's buffer isn't to reach a disk that stands still. */
static void silence(FILE *stream) {
  REAL(open);
  int null = real("/dev/null", O_WRONLY);
  dup2(null, fileno(stream));
  close(null);
}

size_t fwrite(const void *data, size_t size, size_t number, FILE *stream) {
  REAL(fwrite);
  if (on() && fd_below(fileno(stream)) && verdict("fwrite")) return 0;
  return real(data, size, number, stream);
}

int fflush(FILE *stream) {
  REAL(fflush);
  if (on() && stream && fd_below(fileno(stream)) && verdict("fflush")) return EOF;
  return real(stream);
}

int fclose(FILE *stream) {
  REAL(fclose);
  int found = on() && fd_below(fileno(stream)) ? verdict("fclose") : 0, number = errno;
  if (found && control()->dead) silence(stream);
  int done = real(stream);
  if (found) errno = number;
  return found ? EOF : done;
}

#define CALL(name, parameters, where, ...)                  \
  int name parameters {                                     \
    REAL(name);                                             \
    if (on() && (where) && verdict(#name)) return -1;       \
    return real(__VA_ARGS__);                               \
  }
CALL(fsync, (int fd), fd_below(fd), fd)
CALL(fdatasync, (int fd), fd_below(fd), fd)
CALL(ftruncate, (int fd, off_t size), fd_below(fd), fd, size)
CALL(mkdir, (const char *path, mode_t mode), below(path), path, mode)
CALL(mkdirat, (int fd, const char *path, mode_t mode), at_below(fd, path), fd, path, mode)
CALL(rmdir, (const char *path), below(path), path)
CALL(unlink, (const char *path), below(path), path)
CALL(unlinkat, (int fd, const char *path, int flags), at_below(fd, path), fd, path, flags)
CALL(rename, (const char *from, const char *to), below(from), from, to)
CALL(renameat, (int a, const char *from, int b, const char *to), at_below(a, from), a, from, b, to)
