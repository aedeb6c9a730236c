/* What clients and target share: the commands a client gives its target through
 * the proxy under measurement, the messages of the update workloads, the clock. */
#ifndef COMMON_H
#define COMMON_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GREETING "RFB 003.008\n"
#define GREETING_SIZE 12
#define COMMAND_MAGIC 0x31646d63u
#define PERIOD 65536u /* the pattern repeats after so many bytes */

enum operation {
    OP_FLOOD = 1,   /* send `total` bytes of the pattern in writes of `size` */
    OP_SINK = 2,    /* take `total` bytes, compare them with the pattern where `size` is 1, say DONE */
    OP_ECHO = 3,    /* send back what comes */
    OP_UPDATES = 4, /* send a message of `size` every `interval_us`, plus up to `jitter_us` at random */
    OP_STALL = 5,   /* read nothing more */
};

enum kind { KIND_UPDATE = 1, KIND_ECHO = 2, KIND_DONE = 3, KIND_INPUT = 4, KIND_REQUEST = 5 };

/* Both structures travel as they lie in memory: the two ends are one program. */
typedef struct {
    uint32_t magic;
    uint32_t operation;
    uint64_t total;
    uint32_t size;
    uint32_t interval_us;
    uint32_t jitter_us;
    uint32_t spare;
} command;

typedef struct {
    uint32_t size; /* with this header */
    uint32_t kind;
    uint64_t sent_ns;
} message;

/* Two periods of incompressible bytes: a piece of up to PERIOD bytes from any offset below PERIOD. */
extern unsigned char pattern[2 * PERIOD];

void make_pattern(void);
uint64_t now_ns(void);
uint32_t random_bits(void);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *must(void *memory);
void allow_many_files(void);

/* A sample set for percentiles; it doubles as it fills, up to a fixed bound. */
typedef struct {
    uint32_t *values_us10; /* tenths of a microsecond */
    size_t used, room;
} samples;

void add_sample(samples *set, uint64_t nanoseconds);
/* Print `"name": {"count": ..., "p50": ..., ...}` in microseconds. */
void print_samples(const char *name, samples *set);

int run_target(int argc, char **argv);
int run_client(int argc, char **argv);

#endif
