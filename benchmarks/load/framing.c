/* WebSocket framing of a client (RFC 6455, section 5). */
#include "wire.h"

#include <string.h>

size_t wire_frame(unsigned char *out, int opcode, const unsigned char *data, size_t size) {
    size_t used = 0;
    out[used++] = (unsigned char)(0x80 | opcode);
    if (size < 126) {
        out[used++] = (unsigned char)(0x80 | size);
    } else if (size < 65536) {
        out[used++] = 0x80 | 126;
        out[used++] = (unsigned char)(size >> 8);
        out[used++] = (unsigned char)size;
    } else {
        out[used++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            out[used++] = (unsigned char)((uint64_t)size >> shift);
    }
    uint32_t bits = random_bits();
    unsigned char *key = out + used;
    memcpy(key, &bits, 4);
    used += 4;
    for (size_t i = 0; i < size; i++)
        out[used + i] = data[i] ^ key[i & 3];
    return used + size;
}

void wire_send_frame(conn *c, int opcode, const void *data, size_t size) {
    unsigned char frame[512 + 14];
    if (size > 512)
        die("client: message too long");
    wire_queue(c, frame, wire_frame(frame, opcode, data, size));
}

static void control_received(conn *c) {
    if (c->opcode == 9)
        wire_send_frame(c, 10, c->control, c->control_used);
    else if (c->opcode == 8)
        wire_finished(c);
    c->control_used = 0;
}

void wire_deframe(conn *c, const unsigned char *data, size_t size) {
    while (size && c->stage != CLOSED) {
        if (c->payload_left == 0) {
            c->head[c->head_used++] = *data++;
            size--;
            if (c->head_used < 2)
                continue;
            if (c->head[1] & 0x80)
                die("client: a masked frame from the server");
            size_t need = c->head[1] < 126 ? 2 : c->head[1] == 126 ? 4 : 10;
            if (c->head_used < need)
                continue;
            c->head_used = 0;
            c->opcode = c->head[0] & 15;
            uint64_t length = c->head[1];
            if (need > 2) {
                length = 0;
                for (size_t i = 2; i < need; i++)
                    length = length << 8 | c->head[i];
            }
            if (c->opcode >= 8 && length > sizeof c->control)
                die("client: a long control frame");
            c->payload_left = length;
            if (length == 0 && c->opcode >= 8)
                control_received(c);
            continue;
        }
        size_t take = size < c->payload_left ? size : (size_t)c->payload_left;
        c->payload_left -= take;
        if (c->opcode >= 8) {
            memcpy(c->control + c->control_used, data, take);
            c->control_used += take;
            if (c->payload_left == 0)
                control_received(c);
        } else {
            wire_payload(c, data, take);
        }
        data += take;
        size -= take;
    }
}
