/* The console server: obeys the commands of common.h on each connection, on one thread.
 *
 * It greets every connection first, as a VNC server does, prints its port, and
 * ends when its standard input does.  With --tls, it speaks TLS 1.3 from the
 * first byte, and greets inside. */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MOST_PEERS 20000
#define TURNS 64 /* writes per event, so that one flood does not starve other sessions */

typedef struct {
    int fd, at;
    SSL *ssl;
    bool greeted;
    uint32_t operation, events;
    command command;
    unsigned char in[sizeof(command)];
    size_t in_used;
    uint64_t position; /* in the pattern */
    uint64_t left;
    uint32_t piece_left;
    unsigned char *out; /* what the socket did not take */
    size_t out_used;
    uint64_t due;
} peer;

static int events_fd, timer_fd;
static SSL_CTX *context;
static peer *updating[MOST_PEERS];
static int updating_count;
static char listener_mark, timer_mark, input_mark;

static void watch(peer *p, uint32_t events) {
    if (events == p->events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = p};
    epoll_ctl(events_fd, EPOLL_CTL_MOD, p->fd, &e);
    p->events = events;
}

static void drop(peer *p) {
    if (p->at >= 0) {
        updating[p->at] = updating[--updating_count];
        updating[p->at]->at = p->at;
    }
    SSL_free(p->ssl);
    close(p->fd);
    free(p->out);
    free(p);
}

/* What TLS says in the terms of sockets: bytes, 0 for the end, or -1 and EAGAIN for nothing now. */
static ssize_t done_by_tls(peer *p, int n) {
    if (n > 0)
        return n;
    int error = SSL_get_error(p->ssl, n);
    ERR_clear_error();
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* As send(); what was refused comes again, from wherever it lies then. */
static ssize_t give(peer *p, const void *data, size_t size) {
    return p->ssl ? done_by_tls(p, SSL_write(p->ssl, data, (int)size)) : send(p->fd, data, size, 0);
}

/* As recv(). */
static ssize_t take(peer *p, void *buffer, size_t room, int flags) {
    return p->ssl ? done_by_tls(p, SSL_read(p->ssl, buffer, (int)room)) : recv(p->fd, buffer, room, flags);
}

/* Send now or keep the rest; false when the connection is gone. */
static bool emit(peer *p, const void *data, size_t size) {
    size_t sent = 0;
    if (p->out_used == 0) {
        ssize_t n = give(p, data, size);
        if (n < 0 && errno != EAGAIN)
            return false;
        sent = n > 0 ? (size_t)n : 0;
    }
    if (sent < size) {
        if (p->out_used + size > (1u << 24))
            return false;
        p->out = must(realloc(p->out, p->out_used + size - sent));
        memcpy(p->out + p->out_used, (const char *)data + sent, size - sent);
        p->out_used += size - sent;
        watch(p, p->events | EPOLLOUT);
    }
    return true;
}

static bool flush(peer *p) {
    ssize_t n = give(p, p->out, p->out_used);
    if (n < 0)
        return errno == EAGAIN;
    p->out_used -= (size_t)n;
    memmove(p->out, p->out + n, p->out_used);
    if (p->out_used == 0)
        watch(p, p->events & ~(uint32_t)EPOLLOUT);
    return true;
}

static bool flood(peer *p) {
    for (int turn = 0; turn < TURNS && p->left; turn++) {
        if (p->piece_left == 0)
            p->piece_left = p->left < p->command.size ? (uint32_t)p->left : p->command.size;
        ssize_t n = give(p, pattern + p->position % PERIOD, p->piece_left);
        if (n < 0)
            return errno == EAGAIN;
        p->position += (uint64_t)n;
        p->left -= (uint64_t)n;
        p->piece_left -= (uint32_t)n;
    }
    if (p->left == 0) {
        p->operation = 0;
        watch(p, EPOLLIN);
    }
    return true;
}

static bool sink(peer *p) {
    static unsigned char buffer[1 << 20];
    size_t room = p->left < sizeof buffer ? (size_t)p->left : sizeof buffer;
    /* MSG_TRUNC discards in the kernel (TLS cannot): what arrives was proven good in the verified part. */
    ssize_t n = take(p, buffer, room, p->command.size == 1 ? 0 : MSG_TRUNC);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    if (p->command.size == 1)
        for (ssize_t i = 0; i < n; i++)
            if (buffer[i] != pattern[(p->position + (uint64_t)i) % PERIOD])
                die("target: wrong byte at %llu", (unsigned long long)p->position + (uint64_t)i);
    p->position += (uint64_t)n;
    p->left -= (uint64_t)n;
    if (p->left)
        return true;
    p->operation = 0;
    message done = {sizeof done, KIND_DONE, now_ns()};
    return emit(p, &done, sizeof done);
}

static bool obey(peer *p, const command *c) {
    if (c->magic != COMMAND_MAGIC)
        return false;
    p->command = *c;
    p->operation = c->operation;
    p->left = c->total;
    p->position = p->piece_left = 0;
    switch (c->operation) {
    case OP_FLOOD:
        if (c->size == 0 || c->size > PERIOD)
            return false;
        watch(p, EPOLLOUT);
        return flood(p);
    case OP_UPDATES:
        if (c->size < sizeof(message) || c->size > PERIOD || c->interval_us == 0)
            return false;
        p->at = updating_count;
        updating[updating_count++] = p;
        p->due = now_ns() + 1000ull * (random_bits() % c->interval_us);
        return true;
    case OP_STALL:
        watch(p, 0);
        return true;
    case OP_SINK:
    case OP_ECHO:
        return true;
    }
    return false;
}

/* Fixed-size records from the client: commands, or the inputs of the update workloads. */
static bool read_records(peer *p) {
    for (;;) {
        bool inputs = p->operation == OP_UPDATES;
        size_t size = inputs ? sizeof(message) : sizeof(command);
        ssize_t n = take(p, p->in + p->in_used, size - p->in_used, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        p->in_used += (size_t)n;
        if (p->in_used < size)
            continue;
        p->in_used = 0;
        if (inputs) {
            message *input = (message *)p->in;
            input->size = sizeof *input;
            if (input->kind == KIND_INPUT) {
                input->kind = KIND_ECHO;
                if (!emit(p, input, sizeof *input))
                    return false;
            }
            continue;
        }
        command c;
        memcpy(&c, p->in, sizeof c);
        if (!obey(p, &c))
            return false;
        if (p->operation != OP_UPDATES)
            return true;
    }
}

static bool echo(peer *p) {
    unsigned char buffer[65536];
    ssize_t n = take(p, buffer, sizeof buffer, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    return emit(p, buffer, (size_t)n);
}

static bool greet(peer *p) {
    p->greeted = true;
    watch(p, EPOLLIN);
    return emit(p, GREETING, GREETING_SIZE);
}

static bool shake(peer *p) {
    int n = SSL_accept(p->ssl);
    if (n == 1)
        return greet(p);
    int error = SSL_get_error(p->ssl, n);
    ERR_clear_error();
    watch(p, error == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static bool serve(peer *p, uint32_t events) {
    if (!p->greeted) {
        if (!shake(p))
            return false;
        if (!p->greeted)
            return true;
    }
    if (events & EPOLLOUT) {
        if (p->out_used ? !flush(p) : p->operation == OP_FLOOD && !flood(p))
            return false;
    }
    if (p->operation == OP_STALL)
        return !(events & (EPOLLERR | EPOLLHUP));
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        if (p->operation == OP_SINK)
            return sink(p);
        if (p->operation == OP_ECHO)
            return echo(p);
        if (p->operation == OP_FLOOD)
            return !(events & (EPOLLERR | EPOLLHUP));
        return read_records(p);
    }
    return true;
}

/* What came in the same record stays in OpenSSL and would not wake us. */
static bool drain(peer *p) {
    while (p->ssl && p->operation != OP_STALL && p->operation != OP_FLOOD && SSL_pending(p->ssl))
        if (!serve(p, EPOLLIN))
            return false;
    return true;
}

/* Send the updates that are due, and set the timer for the next one. */
static void update(void) {
    static unsigned char buffer[PERIOD];
    uint64_t now = now_ns(), next = UINT64_MAX;
    for (int i = 0; i < updating_count; i++) {
        peer *p = updating[i];
        if (p->due <= now) {
            /* A session whose last update did not leave yet skips one, as a VNC server does. */
            if (p->out_used == 0) {
                message head = {p->command.size, KIND_UPDATE, now_ns()};
                memcpy(buffer, &head, sizeof head);
                memcpy(buffer + sizeof head, pattern, p->command.size - sizeof head);
                emit(p, buffer, p->command.size);
            }
            uint32_t jitter = p->command.jitter_us ? random_bits() % p->command.jitter_us : 0;
            p->due += 1000ull * (p->command.interval_us + jitter);
            if (p->due < now)
                p->due = now;
        }
        if (p->due < next)
            next = p->due;
    }
    struct itimerspec t = {0};
    if (next != UINT64_MAX) {
        t.it_value.tv_sec = (time_t)(next / 1000000000u);
        t.it_value.tv_nsec = (long)(next % 1000000000u);
    }
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void welcome(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peer *p = must(calloc(1, sizeof *p));
        p->fd = fd;
        p->at = -1;
        p->events = EPOLLIN;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &e);
        if (context) {
            p->ssl = must(SSL_new(context));
            SSL_set_fd(p->ssl, fd);
        } else if (!greet(p)) {
            drop(p);
        }
    }
}

/* As clients have it in wire.c: one version, suite and group, whoever connects. */
static void secure(const char *certificate, const char *key) {
    context = SSL_CTX_new(TLS_server_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") ||
        !SSL_CTX_set1_groups_list(context, "X25519"))
        die("target: OpenSSL cannot do TLS 1.3");
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die("target: certificate or key cannot be used");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
}

int run_target(int argc, char **argv) {
    static const struct option names[] = {
        {"tls", 0, 0, 't'}, {"certificate", 1, 0, 'c'}, {"key", 1, 0, 'k'}, {0, 0, 0, 0}};
    const char *certificate = NULL, *key = NULL;
    bool tls = false;
    int letter;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 't': tls = true; break;
        case 'c': certificate = optarg; break;
        case 'k': key = optarg; break;
        default: die("target: wrong option");
        }
    }
    if (optind != argc || tls != (certificate && key))
        die("usage: load target [--tls --certificate=FILE --key=FILE]");
    if (tls)
        secure(certificate, key);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        die("target: %s", strerror(errno));
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    events_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct {
        int fd;
        void *mark;
    } own[] = {{listener, &listener_mark}, {timer_fd, &timer_mark}, {0, &input_mark}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = own[i].mark};
        if (epoll_ctl(events_fd, EPOLL_CTL_ADD, own[i].fd, &e))
            die("target: %s", strerror(errno));
    }
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(events_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            void *who = events[i].data.ptr;
            char byte;
            if (who == &listener_mark) {
                welcome(listener);
            } else if (who == &timer_mark) {
                uint64_t expired;
                if (read(timer_fd, &expired, sizeof expired) > 0)
                    update();
            } else if (who == &input_mark) {
                if (read(0, &byte, 1) <= 0)
                    return 0;
            } else {
                peer *p = who;
                bool was = p->at >= 0;
                if (!serve(p, events[i].events) || !drain(p))
                    drop(p);
                else if (!was && p->at >= 0)
                    update();
            }
        }
    }
}
