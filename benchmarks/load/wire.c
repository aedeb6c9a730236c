/* Connections of a browser; see wire.h. */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

wire_options wire;

static int events_fd;
static SSL_CTX *context;
static SSL_SESSION *session;

static int keep_session(SSL *ssl, SSL_SESSION *given) {
    (void)ssl;
    /* A copy, because OpenSSL spoils the sessions of connections that end abruptly. */
    SSL_SESSION_free(session);
    session = SSL_SESSION_dup(given);
    return 0;
}

void wire_start(void) {
    events_fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(events_fd, EPOLL_CTL_ADD, 0, &e);
    if (!wire.tls)
        return;
    context = SSL_CTX_new(TLS_client_method());
    /* One version, suite and group for every contender. */
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") ||
        !SSL_CTX_set1_groups_list(context, "X25519"))
        die("client: OpenSSL cannot do TLS 1.3");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    if (wire.resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    }
}

void wire_watch(conn *c, uint32_t events) {
    if (events == c->events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(events_fd, EPOLL_CTL_MOD, c->fd, &e);
    c->events = events;
}

void wire_wait(conn *c, short events, int timeout) {
    struct pollfd one = {.fd = c->fd, .events = events};
    poll(&one, 1, timeout);
}

void wire_finished(conn *c) {
    if (c->stage == CLOSED)
        return;
    c->stage = CLOSED;
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    free(c->out);
    c->out = NULL;
    c->out_used = c->out_sent = 0;
    if (wire.listener.closed)
        wire.listener.closed(c);
}

conn *wire_open(int index) {
    conn *c = must(calloc(1, sizeof *c));
    c->index = index;
    c->began_ns = now_ns();
    c->greeting_left = GREETING_SIZE;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("client: socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)wire.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("client: connect: %s", strerror(errno));
    if (wire.tls) {
        c->ssl = must(SSL_new(context));
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_tlsext_host_name(c->ssl, "localhost");
        if (wire.resume && session) {
            SSL_SESSION *copy = must(SSL_SESSION_dup(session));
            SSL_set_session(c->ssl, copy);
            SSL_SESSION_free(copy);
        }
    }
    c->events = EPOLLOUT;
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(events_fd, EPOLL_CTL_ADD, c->fd, &e))
        die("client: epoll: %s", strerror(errno));
    return c;
}

/* -1 for the end, 0 for nothing now. */
static ssize_t get(conn *c, void *buffer, size_t room) {
    ssize_t n;
    if (!c->ssl) {
        n = recv(c->fd, buffer, room, 0);
        return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
    }
    n = SSL_read(c->ssl, buffer, (int)room);
    if (n > 0)
        return n;
    int error = SSL_get_error(c->ssl, (int)n);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

size_t wire_write(conn *c, const unsigned char *data, size_t size) {
    if (c->stage == CLOSED)
        return 0;
    if (!c->ssl) {
        ssize_t n = send(c->fd, data, size, 0);
        if (n < 0 && errno != EAGAIN)
            wire_finished(c);
        return n > 0 ? (size_t)n : 0;
    }
    int n = SSL_write(c->ssl, data, (int)size);
    if (n > 0)
        return (size_t)n;
    int error = SSL_get_error(c->ssl, n);
    ERR_clear_error();
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        wire_finished(c);
    return 0;
}

static void flush(conn *c) {
    while (c->out_sent < c->out_used) {
        size_t n = wire_write(c, c->out + c->out_sent, c->out_used - c->out_sent);
        if (c->stage == CLOSED)
            return;
        if (n == 0) {
            wire_watch(c, EPOLLIN | EPOLLOUT);
            return;
        }
        c->out_sent += n;
    }
    c->out_used = c->out_sent = 0;
    free(c->out);
    c->out = NULL;
    wire_watch(c, EPOLLIN);
}

void wire_queue(conn *c, const unsigned char *data, size_t size) {
    if (c->stage == CLOSED)
        return;
    if (c->out_used == 0) {
        size_t n = wire_write(c, data, size);
        if (n == size || c->stage == CLOSED)
            return;
        data += n;
        size -= n;
    }
    c->out = must(realloc(c->out, c->out_used + size));
    memcpy(c->out + c->out_used, data, size);
    c->out_used += size;
    wire_watch(c, EPOLLIN | EPOLLOUT);
}

void wire_send(conn *c, const void *data, size_t size) {
    if (wire.framed)
        wire_send_frame(c, 2, data, size);
    else
        wire_queue(c, data, size);
}

void wire_send_command(conn *c, uint32_t operation, uint64_t total, uint32_t size, uint32_t interval_us,
                       uint32_t jitter_us) {
    command order = {COMMAND_MAGIC, operation, total, size, interval_us, jitter_us, 0};
    wire_send(c, &order, sizeof order);
}

void wire_close(conn *c) {
    if (c->stage != OPEN || c->closing)
        return;
    c->closing = true;
    if (wire.framed) {
        wire_send_frame(c, 8, "\x03\xe8", 2);
        return;
    }
    if (c->ssl)
        SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
}

/* Application bytes of the target. */
void wire_payload(conn *c, const unsigned char *data, size_t size) {
    if (c->greeting_left) {
        size_t take = size < c->greeting_left ? size : c->greeting_left;
        if (memcmp(data, GREETING + GREETING_SIZE - c->greeting_left, take) != 0)
            die("client: the greeting is wrong");
        c->greeting_left -= take;
        data += take;
        size -= take;
        if (c->greeting_left == 0)
            wire.listener.ready(c);
    }
    if (size && wire.listener.data && c->stage != CLOSED)
        wire.listener.data(c, data, size);
}

static void received(conn *c, const unsigned char *data, size_t size) {
    if (wire.framed)
        wire_deframe(c, data, size);
    else
        wire_payload(c, data, size);
}

static void begin_upgrade(conn *c) {
    c->resumed = c->ssl && SSL_session_reused(c->ssl);
    wire_watch(c, EPOLLIN);
    if (!wire.framed) {
        c->stage = OPEN;
        return;
    }
    c->stage = UPGRADE;
    char request[20000];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: localhost:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nOrigin: https://localhost\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: %08x%08x%04xAA==\r\nSec-WebSocket-Protocol: binary\r\n\r\n",
                        wire.paths[c->index % wire.path_count], wire.port, random_bits(), random_bits(),
                        random_bits() & 0xffff);
    if (size >= (int)sizeof request)
        die("client: the request is too long");
    wire_queue(c, (unsigned char *)request, (size_t)size);
}

static void read_reply(conn *c) {
    ssize_t n = get(c, c->reply + c->reply_used, sizeof c->reply - 1 - c->reply_used);
    if (n < 0 || c->reply_used + 1 == sizeof c->reply)
        die("client: connection %d was not upgraded", c->index);
    c->reply_used += (size_t)n;
    c->reply[c->reply_used] = 0;
    char *end = strstr(c->reply, "\r\n\r\n");
    if (!end)
        return;
    if (strncmp(c->reply, "HTTP/1.1 101 ", 13) != 0)
        die("client: connection %d was refused: %.40s", c->index, c->reply);
    c->stage = OPEN;
    size_t head = (size_t)(end + 4 - c->reply);
    received(c, (unsigned char *)c->reply + head, c->reply_used - head);
}

static void serve(conn *c, uint32_t events) {
    static unsigned char buffer[65536];
    if (c->stage == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error)
            die("client: connect: %s", strerror(error));
        c->stage = HANDSHAKE;
    }
    if (c->stage == HANDSHAKE) {
        if (c->ssl) {
            int n = SSL_connect(c->ssl);
            if (n <= 0) {
                int error = SSL_get_error(c->ssl, n);
                if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
                    die("client: TLS handshake failed on connection %d", c->index);
                wire_watch(c, error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT);
                return;
            }
        }
        begin_upgrade(c);
        return;
    }
    if (c->out_used && events & EPOLLOUT)
        flush(c);
    if (c->stage == CLOSED || !(events & ~(uint32_t)EPOLLOUT))
        return;
    if (c->stage == UPGRADE) {
        read_reply(c);
        /* What came in the same record stays in OpenSSL and would not wake us. */
        if (c->stage != OPEN || !c->ssl || !SSL_pending(c->ssl))
            return;
    }
    for (int turn = 0; turn < 16; turn++) {
        ssize_t n = get(c, buffer, sizeof buffer);
        if (n < 0)
            wire_finished(c);
        if (n <= 0)
            return;
        received(c, buffer, (size_t)n);
        if (c->stage == CLOSED || (!c->ssl && (size_t)n < sizeof buffer))
            return;
    }
}

bool wire_turn(int timeout) {
    struct epoll_event events[128];
    bool told = false;
    int count = epoll_wait(events_fd, events, 128, timeout);
    for (int i = 0; i < count; i++) {
        conn *c = events[i].data.ptr;
        if (c == NULL)
            told = true;
        else if (c->stage != CLOSED)
            serve(c, events[i].events);
    }
    return told;
}
