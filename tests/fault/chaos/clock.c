/* Preloaded into a process: shifts the time of day by the nanoseconds in the shared file $CHAOS_CLOCK,
 * and counts how often it was asked for while it was shifted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct clock {
    volatile long long offset_ns;
    volatile long long times_asked;
};

static struct clock nobodys;
static struct clock *shared = &nobodys;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof(struct clock), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) shared = found;
    close(file);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    if (!real_clock_gettime) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real_clock_gettime(which, now);
    long long offset_ns = shared->offset_ns;
    if (failed || !offset_ns || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE))
        return failed;
    shared->times_asked++;
    long long ns = now->tv_nsec + offset_ns % 1000000000LL;
    now->tv_sec += offset_ns / 1000000000LL + (ns >= 1000000000LL) - (ns < 0);
    now->tv_nsec = (ns + 1000000000LL) % 1000000000LL;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *result)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (result) *result = exact.tv_sec;
    return exact.tv_sec;
}
