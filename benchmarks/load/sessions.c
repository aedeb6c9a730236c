/* Latency, many sessions, connections per second, idle sessions. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP_NS 500000000u

static samples echoes, delays, firsts;
static uint64_t updates, update_bytes, resumed;
static bool recording;

/* -- one small frame there and back, again and again ------------------------- */

#define ECHO_SIZE 32

static uint64_t echo_sent;
static size_t echo_left;

static void echo_data(conn *c, const unsigned char *data, size_t size) {
    (void)data;
    if (size > echo_left)
        die("client: more came back than was sent");
    echo_left -= size;
    if (echo_left)
        return;
    uint64_t now = now_ns();
    if (recording)
        add_sample(&echoes, now - echo_sent);
    echo_left = ECHO_SIZE;
    echo_sent = now_ns();
    wire_send(c, pattern, ECHO_SIZE);
}

static void serve_for(uint64_t nanoseconds) {
    uint64_t end = now_ns() + nanoseconds;
    while (now_ns() < end) {
        wire_turn(100);
        if (closed_count)
            die("client: %d connections were lost", closed_count);
    }
}

void run_echo(void) {
    open_all(echo_data);
    wire_send_command(conns[0], OP_ECHO, 0, 0, 0, 0);
    echo_left = ECHO_SIZE;
    echo_sent = now_ns();
    wire_send(conns[0], pattern, ECHO_SIZE);
    serve_for(WARM_UP_NS / 2);
    say_ready();
    recording = true;
    uint64_t began = now_ns();
    serve_for((uint64_t)(options.seconds * 1e9));
    printf("{\"seconds\": %.6f, ", (double)(now_ns() - began) / 1e9);
    print_samples("echo_us", &echoes);
    printf("}");
}

/* -- sessions that get updates and send inputs --------------------------------- */

static void message_received(conn *c, const message *m) {
    uint64_t now = now_ns();
    if (m->kind == KIND_ECHO) {
        if (recording)
            add_sample(&echoes, now - m->sent_ns);
        return;
    }
    if (recording) {
        add_sample(&delays, now - m->sent_ns);
        updates++;
        update_bytes += m->size;
    }
    if (options.requests) {
        message request = {sizeof request, KIND_REQUEST, 0};
        wire_send(c, &request, sizeof request);
    }
}

static void update_data(conn *c, const unsigned char *data, size_t size) {
    while (size) {
        if (c->record_used < sizeof(message)) {
            size_t take = sizeof(message) - c->record_used;
            take = take < size ? take : size;
            memcpy(c->record + c->record_used, data, take);
            c->record_used += take;
            data += take;
            size -= take;
            if (c->record_used < sizeof(message))
                return;
            message head;
            memcpy(&head, c->record, sizeof head);
            if (head.size < sizeof head || head.size > PERIOD)
                die("client: the stream is out of step");
            c->skip = head.size - sizeof head;
        }
        size_t take = size < c->skip ? size : (size_t)c->skip;
        c->skip -= take;
        data += take;
        size -= take;
        if (c->skip == 0) {
            message head;
            memcpy(&head, c->record, sizeof head);
            c->record_used = 0;
            message_received(c, &head);
        }
    }
}

static void send_inputs(void) {
    uint64_t now = now_ns(), gap = options.input_ms * 1000000ull;
    for (int i = 0; i < options.sessions; i++) {
        if (conns[i]->due > now)
            continue;
        message input = {sizeof input, KIND_INPUT, now_ns()};
        wire_send(conns[i], &input, sizeof input);
        conns[i]->due = now + gap / 2 + random_bits() % gap;
    }
}

static void serve_updates(uint64_t nanoseconds) {
    uint64_t end = now_ns() + nanoseconds, now;
    while ((now = now_ns()) < end) {
        if (options.input_ms)
            send_inputs();
        wire_turn(options.input_ms ? 1 : 20);
        if (closed_count)
            die("client: %d connections were lost", closed_count);
    }
}

void run_updates(void) {
    open_all(update_data);
    for (int i = 0; i < options.sessions; i++) {
        wire_send_command(conns[i], OP_UPDATES, 0, options.size, options.interval_us, options.jitter_us);
        if (options.input_ms)
            conns[i]->due = now_ns() + 1000000ull * (random_bits() % options.input_ms);
    }
    serve_updates(WARM_UP_NS);
    say_ready();
    recording = true;
    uint64_t began = now_ns();
    serve_updates((uint64_t)(options.seconds * 1e9));
    double seconds = (double)(now_ns() - began) / 1e9;
    printf("{\"seconds\": %.6f, \"updates\": %llu, \"bytes\": %llu, ", seconds, (unsigned long long)updates,
           (unsigned long long)update_bytes);
    print_samples("delay_us", &delays);
    printf(", ");
    print_samples("echo_us", &echoes);
    printf("}");
}

/* -- connections, one after the other ------------------------------------------- */

static void connect_ready(conn *c) {
    if (recording) {
        add_sample(&firsts, now_ns() - c->began_ns);
        resumed += c->resumed;
    }
    wire_close(c);
}

static void connect_closed(conn *c) {
    if (c->greeting_left)
        die("client: connection %d was lost before its greeting", c->index);
    closed_count++;
}

static void connect_many(int from, int count) {
    int opened = 0;
    closed_count = 0;
    while (closed_count < count) {
        while (opened < count && opened - closed_count < options.parallel)
            wire_open(from + opened++);
        wire_turn(1000);
    }
}

void run_connect(void) {
    wire.listener = (listener){connect_ready, NULL, connect_closed};
    int warm = options.parallel;
    connect_many(0, warm);
    say_ready();
    recording = true;
    uint64_t began = now_ns();
    connect_many(warm, options.sessions);
    printf("{\"seconds\": %.6f, \"connections\": %d, \"resumed\": %llu, ",
           (double)(now_ns() - began) / 1e9, options.sessions, (unsigned long long)resumed);
    print_samples("first_byte_us", &firsts);
    printf("}");
}

/* -- sessions that do nothing but answer pings ---------------------------------- */

void run_hold(void) {
    open_all(NULL);
    say_ready();
    printf("{\"held\": %d, \"lost\": %d}", options.sessions - closed_count, closed_count);
}
