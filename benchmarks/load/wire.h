/* The browser's side of connections: TCP, TLS, the WebSocket upgrade and framing, all non-blocking. */
#ifndef WIRE_H
#define WIRE_H

#include "common.h"

#include <openssl/ssl.h>

enum stage { CONNECTING, HANDSHAKE, UPGRADE, OPEN, CLOSED };

typedef struct conn conn;

struct conn {
    int fd, index;
    enum stage stage;
    SSL *ssl;
    uint32_t events;
    bool resumed, closing;
    uint64_t began_ns;
    char reply[4096]; /* the answer to the upgrade, while stage is UPGRADE */
    size_t reply_used;
    size_t greeting_left;
    /* the frame being received */
    unsigned char head[10];
    size_t head_used;
    uint64_t payload_left;
    int opcode;
    unsigned char control[125];
    size_t control_used;
    /* bytes that the socket did not take */
    unsigned char *out;
    size_t out_used, out_sent;
    /* of the workload */
    unsigned char record[64];
    size_t record_used;
    uint64_t skip, counter, due;
};

/* What a workload wants to hear. */
typedef struct {
    void (*ready)(conn *c); /* end to end: the target's greeting came */
    void (*data)(conn *c, const unsigned char *data, size_t size);
    void (*closed)(conn *c);
} listener;

typedef struct {
    int port;
    bool tls, framed, resume;
    char **paths; /* request paths, used in turn */
    int path_count;
    listener listener;
} wire_options;

extern wire_options wire;

void wire_start(void);
/* Serve events for up to `timeout` milliseconds; true when standard input has a line or its end. */
bool wire_turn(int timeout);
conn *wire_open(int index);
/* One message to the target, in one frame where there is framing; kept where the socket is full. */
void wire_send(conn *c, const void *data, size_t size);
void wire_send_command(conn *c, uint32_t operation, uint64_t total, uint32_t size, uint32_t interval_us,
                       uint32_t jitter_us);
/* Bytes as they are, already framed: how many were taken, 0 for none now. */
size_t wire_write(conn *c, const unsigned char *data, size_t size);
/* Leave politely; `closed` is called when the other side has gone too. */
void wire_close(conn *c);
/* One masked frame of up to 512 bytes. */
void wire_send_frame(conn *c, int opcode, const void *data, size_t size);
/* Write a masked frame around a payload: `out` has 14 bytes more than it. Returns the frame's size. */
size_t wire_frame(unsigned char *out, int opcode, const unsigned char *data, size_t size);
/* Between the connection and its framing: received bytes, the target's bytes in them, bytes to
 * send, the end. */
void wire_deframe(conn *c, const unsigned char *data, size_t size);
void wire_payload(conn *c, const unsigned char *data, size_t size);
void wire_queue(conn *c, const unsigned char *data, size_t size);
void wire_finished(conn *c);
void wire_watch(conn *c, uint32_t events);
/* Wait for the socket alone, in milliseconds. */
void wire_wait(conn *c, short events, int timeout);

#endif
