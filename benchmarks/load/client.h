/* What the client's workloads share; see client.c. */
#ifndef CLIENT_H
#define CLIENT_H

#include "wire.h"

typedef struct {
    int sessions, parallel, limit, encoding;
    uint32_t size, interval_us, jitter_us;
    uint32_t input_ms; /* milliseconds between the inputs of one session, 0 for none */
    uint64_t total;
    double seconds;
    bool requests; /* answer each update with a request for the next */
} client_options;

extern client_options options;
extern conn **conns;
extern int ready_count, closed_count;

void open_all(void (*data)(conn *, const unsigned char *, size_t));
/* Print "ready" and serve connections until a line comes. */
void say_ready(void);
/* Consume the line of which wire_turn() told; the end of input ends the program. */
void take_line(void);

void run_down(void);
void run_up(void);
void run_echo(void);
void run_updates(void);
void run_connect(void);
void run_hold(void);
void run_stall_down(void);
void run_stall_up(void);
void run_rfb(void);

#endif
