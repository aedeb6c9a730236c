/* A VNC client (RFC 6143) that asks for updates as fast as they come and decodes nothing. */
#include "client.h"

#include <stdio.h>
#include <string.h>

enum { RAW = 0, ZRLE = 16 };

enum step { SECURITY_COUNT, SECURITY_TYPES, RESULT, SCREEN, MESSAGE, UPDATE, RECTANGLE, LENGTH, CUT_TEXT };

static enum step step;
static size_t need = 1;
static uint32_t rectangles;
static unsigned pixel_size, width, height;
static bool recording;
static uint64_t updates, received_bytes, rectangle_count;

static unsigned two(const unsigned char *at) { return (unsigned)at[0] << 8 | at[1]; }
static uint32_t four(const unsigned char *at) { return (uint32_t)two(at) << 16 | two(at + 2); }

static void go(enum step next, size_t size) {
    step = next;
    need = size;
}

static void request(conn *c, bool incremental) {
    unsigned char text[10] = {3, incremental, 0, 0, 0, 0};
    text[6] = (unsigned char)(width >> 8), text[7] = (unsigned char)width;
    text[8] = (unsigned char)(height >> 8), text[9] = (unsigned char)height;
    wire_send(c, text, sizeof text);
}

static void next_rectangle(conn *c) {
    if (rectangles--) {
        go(RECTANGLE, 12);
        return;
    }
    updates += recording;
    request(c, true);
    go(MESSAGE, 1);
}

/* `c->record` holds the bytes that the step needed; what it announces is skipped. */
static void advance(conn *c) {
    const unsigned char *r = c->record;
    switch (step) {
    case SECURITY_COUNT:
        if (r[0] == 0 || r[0] > 32)
            die("client: the VNC server refuses");
        go(SECURITY_TYPES, r[0]);
        break;
    case SECURITY_TYPES:
        if (!memchr(r, 1, need))
            die("client: the VNC server wants a password");
        wire_send(c, "\x01", 1);
        go(RESULT, 4);
        break;
    case RESULT:
        if (four(r) != 0)
            die("client: the VNC server refuses");
        wire_send(c, "\x01", 1);
        go(SCREEN, 24);
        break;
    case SCREEN: {
        width = two(r), height = two(r + 2), pixel_size = r[4] / 8u;
        c->skip = four(r + 20);
        unsigned char encodings[8] = {2, 0, 0, 1, 0, 0, 0, (unsigned char)options.encoding};
        wire_send(c, encodings, sizeof encodings);
        request(c, false);
        go(MESSAGE, 1);
        break;
    }
    case MESSAGE:
        if (r[0] == 0)
            go(UPDATE, 3);
        else if (r[0] == 3)
            go(CUT_TEXT, 7);
        else if (r[0] != 2)
            die("client: RFB message of type %d", r[0]);
        break;
    case CUT_TEXT:
        c->skip = four(r + 3);
        go(MESSAGE, 1);
        break;
    case UPDATE:
        rectangles = two(r + 1);
        next_rectangle(c);
        break;
    case RECTANGLE:
        rectangle_count += recording;
        if (four(r + 8) == RAW) {
            c->skip = (uint64_t)two(r + 4) * two(r + 6) * pixel_size;
            next_rectangle(c);
        } else if (four(r + 8) == ZRLE) {
            go(LENGTH, 4);
        } else {
            die("client: RFB encoding %u was not asked for", four(r + 8));
        }
        break;
    case LENGTH:
        c->skip = four(r);
        next_rectangle(c);
        break;
    }
}

static void rfb_data(conn *c, const unsigned char *data, size_t size) {
    if (recording)
        received_bytes += size;
    while (size) {
        if (c->skip) {
            size_t take = size < c->skip ? size : (size_t)c->skip;
            c->skip -= take;
            data += take;
            size -= take;
            continue;
        }
        c->record[c->record_used++] = *data++;
        size--;
        if (c->record_used == need) {
            c->record_used = 0;
            advance(c);
        }
    }
}

static void serve_for(double seconds) {
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end) {
        wire_turn(100);
        if (closed_count)
            die("client: the connection was lost");
    }
}

void run_rfb(void) {
    if (options.encoding != RAW && options.encoding != ZRLE)
        die("client: encoding 0 or 16");
    open_all(rfb_data);
    wire_send(conns[0], GREETING, GREETING_SIZE);
    serve_for(1.0);
    say_ready();
    recording = true;
    uint64_t began = now_ns();
    serve_for(options.seconds);
    printf("{\"seconds\": %.6f, \"updates\": %llu, \"rectangles\": %llu, \"bytes\": %llu}",
           (double)(now_ns() - began) / 1e9, (unsigned long long)updates,
           (unsigned long long)rectangle_count, (unsigned long long)received_bytes);
}
