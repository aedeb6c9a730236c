/* The browsers: one workload per run, said on the command line.
 *
 * Request paths come first on standard input, one a line, up to an empty line.
 * When every connection is through to the target (and the workload's data was
 * verified once), "ready" is printed; a line on standard input starts the
 * measured part, whose result is one line of JSON. Holding workloads go on
 * until another line. A run that takes longer than --limit is ended. */
#include "client.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

client_options options = {.sessions = 1, .parallel = 16, .size = 65536, .seconds = 1, .limit = 60};

conn **conns;
int ready_count, closed_count;

static void on_alarm(int signal) {
    (void)signal;
    static const char text[] = "client: the time limit was reached\n";
    if (write(2, text, sizeof text - 1) < 0)
        _exit(4);
    _exit(3);
}

/* Nothing follows the empty line before we say that we are ready, so reading ahead loses nothing. */
static void read_paths(void) {
    char *text = NULL;
    size_t used = 0, room = 0;
    while (used < 2 || memcmp(text + used - 2, "\n\n", 2) != 0) {
        if (used == 1 && text[0] == '\n')
            break;
        if (used == room) {
            room = room ? 2 * room : 65536;
            text = must(realloc(text, room));
        }
        ssize_t n = read(0, text + used, room - used);
        if (n <= 0)
            die("client: no request paths");
        used += (size_t)n;
    }
    text[used - 1] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        wire.paths = must(realloc(wire.paths, (size_t)(wire.path_count + 1) * sizeof *wire.paths));
        wire.paths[wire.path_count++] = line;
    }
    if (wire.framed && wire.path_count == 0)
        die("client: no request path");
}

static void on_ready(conn *c) {
    (void)c;
    ready_count++;
}

static void on_closed(conn *c) {
    (void)c;
    closed_count++;
}

void open_all(void (*data)(conn *, const unsigned char *, size_t)) {
    wire.listener = (listener){on_ready, data, on_closed};
    conns = must(calloc((size_t)options.sessions, sizeof *conns));
    int opened = 0;
    while (ready_count < options.sessions) {
        while (opened < options.sessions && opened - ready_count < options.parallel) {
            conns[opened] = wire_open(opened);
            opened++;
        }
        wire_turn(1000);
        if (closed_count)
            die("client: %d of %d connections were lost while opening", closed_count, opened);
    }
}

void take_line(void) {
    char line[64];
    if (read(0, line, sizeof line) <= 0)
        exit(0);
}

void say_ready(void) {
    printf("ready\n");
    fflush(stdout);
    while (!wire_turn(1000)) {
    }
    take_line();
}

static const struct {
    const char *name;
    void (*run)(void);
} workloads[] = {
    {"down", run_down},   {"up", run_up},         {"echo", run_echo},
    {"updates", run_updates}, {"connect", run_connect}, {"hold", run_hold},
    {"stall-down", run_stall_down}, {"stall-up", run_stall_up}, {"rfb", run_rfb},
};

int run_client(int argc, char **argv) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'},     {"tls", 0, 0, 't'},      {"raw", 0, 0, 'r'},     {"resume", 0, 0, 'u'},
        {"sessions", 1, 0, 'n'}, {"parallel", 1, 0, 'P'}, {"size", 1, 0, 's'},    {"total", 1, 0, 'T'},
        {"seconds", 1, 0, 'd'},  {"interval", 1, 0, 'i'}, {"jitter", 1, 0, 'j'},  {"inputs", 1, 0, 'I'},
        {"limit", 1, 0, 'l'},    {"requests", 0, 0, 'q'}, {"encoding", 1, 0, 'e'}, {0, 0, 0, 0},
    };
    wire.framed = true;
    int letter;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'p': wire.port = atoi(optarg); break;
        case 't': wire.tls = true; break;
        case 'r': wire.framed = false; break;
        case 'u': wire.resume = true; break;
        case 'n': options.sessions = atoi(optarg); break;
        case 'P': options.parallel = atoi(optarg); break;
        case 's': options.size = (uint32_t)atol(optarg); break;
        case 'T': options.total = (uint64_t)atoll(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'i': options.interval_us = (uint32_t)atol(optarg); break;
        case 'j': options.jitter_us = (uint32_t)atol(optarg); break;
        case 'I': options.input_ms = (uint32_t)atol(optarg); break;
        case 'q': options.requests = true; break;
        case 'e': options.encoding = atoi(optarg); break;
        case 'l': options.limit = atoi(optarg); break;
        default: die("client: wrong option");
        }
    }
    if (optind + 1 != argc || wire.port <= 0 || options.sessions <= 0 || options.size == 0)
        die("usage: load client [options] WORKLOAD");
    signal(SIGALRM, on_alarm);
    alarm((unsigned)options.limit);
    read_paths();
    wire_start();
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
        if (strcmp(argv[optind], workloads[i].name) == 0) {
            workloads[i].run();
            printf("\n");
            fflush(stdout);
            /* Connections stay until the CPU of the other side was read. */
            for (;;)
                take_line();
        }
    }
    die("client: no workload %s", argv[optind]);
}
