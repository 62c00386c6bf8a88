// Moves the wall clock of a process by as many seconds as a file of eight bytes says at each look; the other clocks stay.
//
// A wait until a time of the wall clock is moved too when it begins, and not while it lasts, as the kernel would do it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile long *offset;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("WALL_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) offset = at;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    int failed = (int) syscall(SYS_clock_gettime, clock, to);
    if (!failed && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) to->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *to, void *zone) {
    (void) zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *to, int base) {
    return clock_gettime(CLOCK_REALTIME, to) ? 0 : base;
}

// Of several versions of a function the newest is meant, which dlsym alone may not find.
static void *next(const char *name, const char *version) {
    void *found = dlvsym(RTLD_NEXT, name, version);
    return found ? found : dlsym(RTLD_NEXT, name);
}

static struct timespec of_kernel(const struct timespec *until) {
    struct timespec at = *until;
    if (offset) at.tv_sec -= *offset;
    return at;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *) = next("pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec at = of_kernel(until);
    return real(condition, mutex, &at);
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    int (*real)(cnd_t *, mtx_t *, const struct timespec *) = next("cnd_timedwait", "GLIBC_2.28");
    struct timespec at = of_kernel(until);
    return real(condition, mutex, &at);
}
