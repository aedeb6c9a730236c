/* Bulk and stalled readers: one connection, as many bytes as it takes. */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define VERIFIED (1u << 20) /* bytes compared with the pattern before each measured part */
#define RECORD_OVERHEAD 17  /* content type and tag in a TLS 1.3 record of AES-GCM */

static uint64_t verified;
static bool done;

static void verify(conn *c, const unsigned char *data, size_t size) {
    (void)c;
    for (size_t i = 0; i < size; i++)
        if (data[i] != pattern[(verified + i) % PERIOD])
            die("client: wrong byte at %llu", (unsigned long long)(verified + i));
    verified += size;
}

static void expect_done(conn *c, const unsigned char *data, size_t size) {
    if (c->record_used + size > sizeof(message))
        die("client: more than an acknowledgement");
    memcpy(c->record + c->record_used, data, size);
    c->record_used += size;
    if (c->record_used == sizeof(message)) {
        c->record_used = 0;
        done = true;
    }
}

static void go_on(conn *c) {
    wire_turn(1000);
    if (c->stage == CLOSED)
        die("client: the connection was lost");
}

static conn *verified_down(void) {
    open_all(verify);
    wire_send_command(conns[0], OP_FLOOD, VERIFIED, options.size, 0, 0);
    while (verified < VERIFIED)
        go_on(conns[0]);
    return conns[0];
}

/* Count what arrives without decrypting it: a generator that did would be the bottleneck.
 * Everything decrypted so far ended with a record, so the socket's bytes begin with one. */
static void count_bytes(conn *c) {
    static unsigned char buffer[1 << 18];
    uint64_t plain = 0, skip = 0;
    unsigned char head[5];
    size_t head_used = 0;
    while (plain < options.total) {
        ssize_t n = recv(c->fd, buffer, c->ssl ? sizeof buffer : 1 << 20, c->ssl ? 0 : MSG_TRUNC);
        if (n < 0 && errno == EAGAIN) {
            wire_wait(c, POLLIN, 1000);
            continue;
        }
        if (n <= 0)
            die("client: the connection was lost after %llu bytes", (unsigned long long)plain);
        if (!c->ssl) {
            plain += (uint64_t)n;
            continue;
        }
        for (size_t at = 0; at < (size_t)n;) {
            if (skip) {
                size_t take = (size_t)n - at < skip ? (size_t)n - at : (size_t)skip;
                skip -= take;
                at += take;
                continue;
            }
            head[head_used++] = buffer[at++];
            if (head_used == sizeof head) {
                head_used = 0;
                skip = (uint64_t)head[3] << 8 | head[4];
                if (head[0] != 23 || skip < RECORD_OVERHEAD)
                    die("client: not a TLS 1.3 record");
                plain += skip - RECORD_OVERHEAD;
            }
        }
    }
}

void run_down(void) {
    conn *c = verified_down();
    say_ready();
    uint64_t began = now_ns();
    wire_send_command(c, OP_FLOOD, options.total, options.size, 0, 0);
    count_bytes(c);
    printf("{\"bytes\": %llu, \"seconds\": %.6f}", (unsigned long long)options.total,
           (double)(now_ns() - began) / 1e9);
}

/* Frames of one period of the pattern, to be sent over and over. */
static unsigned char *framed_pattern(size_t *frame_size) {
    size_t frames = PERIOD / options.size;
    unsigned char *buffer = must(malloc(frames * (options.size + 14)));
    size_t used = 0;
    for (size_t i = 0; i < frames; i++) {
        if (wire.framed) {
            *frame_size = wire_frame(buffer + used, 2, pattern + i * options.size, options.size);
        } else {
            memcpy(buffer + used, pattern + i * options.size, options.size);
            *frame_size = options.size;
        }
        used += *frame_size;
    }
    return buffer;
}

/* Send `total` bytes of payload in whole frames, small ones many to a write. */
static void send_pattern(conn *c, const unsigned char *buffer, size_t frame_size, uint64_t total) {
    size_t frames = PERIOD / options.size;
    size_t batch = frame_size < 16384 ? 16384 / frame_size * frame_size : frame_size;
    uint64_t left = total / options.size * frame_size;
    size_t at = 0, size = frames * frame_size;
    while (left) {
        size_t piece = batch - at % batch;
        if (piece > size - at)
            piece = size - at;
        if (piece > left)
            piece = (size_t)left;
        size_t n = wire_write(c, buffer + at, piece);
        if (c->stage == CLOSED)
            die("client: the connection was lost");
        if (n == 0)
            wire_wait(c, POLLOUT, 1000);
        at = (at + n) % size;
        left -= n;
    }
}

void run_up(void) {
    if (PERIOD % options.size || options.total % PERIOD)
        die("client: sizes must divide the pattern");
    size_t frame_size;
    unsigned char *buffer = framed_pattern(&frame_size);
    open_all(expect_done);
    conn *c = conns[0];
    wire_send_command(c, OP_SINK, VERIFIED, 1, 0, 0);
    send_pattern(c, buffer, frame_size, VERIFIED);
    while (!done)
        go_on(c);
    done = false;
    say_ready();
    uint64_t began = now_ns();
    wire_send_command(c, OP_SINK, options.total, 0, 0, 0);
    send_pattern(c, buffer, frame_size, options.total);
    while (!done)
        go_on(c);
    printf("{\"bytes\": %llu, \"frames\": %llu, \"seconds\": %.6f}", (unsigned long long)options.total,
           (unsigned long long)(options.total / options.size), (double)(now_ns() - began) / 1e9);
}

/* Let the other side send, and read nothing until told to end. */
void run_stall_down(void) {
    conn *c = verified_down();
    say_ready();
    wire_send_command(c, OP_FLOOD, options.total, options.size, 0, 0);
    wire_watch(c, 0);
    while (!wire_turn(1000)) {
    }
    printf("{}");
}

/* Send to a target that reads nothing, for as long as it goes. */
void run_stall_up(void) {
    size_t frame_size;
    unsigned char *buffer = framed_pattern(&frame_size);
    open_all(NULL);
    conn *c = conns[0];
    wire_send_command(c, OP_STALL, 0, 0, 0, 0);
    say_ready();
    uint64_t sent = 0;
    size_t at = 0;
    while (!wire_turn(sent < options.total ? 1 : 1000)) {
        while (sent < options.total) {
            size_t n = wire_write(c, buffer + at, frame_size - at % frame_size);
            if (c->stage == CLOSED)
                die("client: the connection was lost");
            if (n == 0)
                break;
            at = (at + n) % (PERIOD / options.size * frame_size);
            sent += n;
        }
    }
    printf("{\"bytes\": %llu}", (unsigned long long)sent);
}
