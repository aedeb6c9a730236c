/* Clock, pattern, percentiles and the entry point; see common.h. */
#include "common.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MOST_SAMPLES 4000000u

unsigned char pattern[2 * PERIOD];

static uint64_t state = 0x9e3779b97f4a7c15u;

uint32_t random_bits(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

void make_pattern(void) {
    for (size_t i = 0; i < PERIOD; i++)
        pattern[i] = pattern[i + PERIOD] = (unsigned char)random_bits();
}

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(3);
}

void *must(void *memory) {
    if (memory == NULL)
        die("out of memory");
    return memory;
}

void allow_many_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void add_sample(samples *set, uint64_t nanoseconds) {
    if (set->used == MOST_SAMPLES)
        return;
    if (set->used == set->room) {
        set->room = set->room ? 2 * set->room : 4096;
        set->values_us10 = must(realloc(set->values_us10, set->room * sizeof *set->values_us10));
    }
    uint64_t value = nanoseconds / 100;
    set->values_us10[set->used++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static int ascending(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

void print_samples(const char *name, samples *set) {
    static const struct {
        const char *name;
        double share;
    } wanted[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}};
    if (set->used)
        qsort(set->values_us10, set->used, sizeof *set->values_us10, ascending);
    printf("\"%s\": {\"count\": %zu", name, set->used);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && set->used; i++) {
        size_t at = (size_t)(wanted[i].share * (double)set->used);
        if (at >= set->used)
            at = set->used - 1;
        printf(", \"%s\": %.1f", wanted[i].name, set->values_us10[at] / 10.0);
    }
    printf("}");
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    make_pattern();
    state ^= now_ns();
    allow_many_files();
    if (argc >= 2 && strcmp(argv[1], "target") == 0)
        return run_target(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "client") == 0)
        return run_client(argc - 1, argv + 1);
    die("usage: load target|client ...");
}
