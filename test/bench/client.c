// The bench's WebSocket client: one thread, epoll, tens of thousands of connections from several source addresses.
// Options are `--name value`; commands come line by line on standard input and are answered by JSON lines:
//   more N         opens N connections more; answered by an `opened` event when all are in their room or refused
//   start          forgets all counts of the measurement, answered
//   stat           the counts so far
//   slow PERCENT   stops reading on the first PERCENT of the connections (0: reads on all again)
//   close          closes all connections
//   quit
// It reads and compares every byte of every connection (frames.h), so its own CPU is part of each answer.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"
#include "histogram.h"

enum { CARRY = 10 + 125, READ_SIZE = 256 * 1024, EVENTS = 1024, CODES = 5000, STATUSES = 600, SECONDS = 1200 };

typedef enum { CONNECTING, HANDSHAKE, OPEN, CLOSED } Phase;

typedef struct {
  int fd;
  uint8_t phase, joined, slow, carried;
  uint8_t carry[CARRY];  // the start of a frame that came in pieces; while shaking hands: the last four that came
  Frame *frame;          // the frame that it is in the middle of
  uint64_t offset;
  uint64_t mark;  // of the last item; 0: none since `start`
  uint64_t began; // of the handshake, µs
} Connection;

static struct {
  const char *host, *path, *subprotocol, *room, *hello, *ready, *tokens;
  int port, connections, rate, inflight, sources, rooms, first, buffer;
} option = {
    .host = "127.0.0.1", .path = "/connect", .subprotocol = "", .room = "live", .hello = NULL, .ready = "\"OK\"",
    .tokens = NULL, .port = 7777, .connections = 0, .rate = 0, .inflight = 256, .sources = 8, .rooms = 0, .first = 0,
    .buffer = 0,
};

static Connection *connections;
static int capacity, wanted, started, opened, joined, failed, handshaking, epoll;
static uint64_t opening_since;
static bool opening;
static char **tokens;
static int token_count;
static uint8_t input[READ_SIZE];
static Frames frames;

// Counts of the measurement: what `start` clears.
static struct {
  uint64_t since, frames, bytes, items, gaps, disorder, lagged_frames, lagged_items, errors, other, broken, pings;
  uint64_t reconnects, slow_items, last_frame;
  struct rusage usage;
  Histogram latency;
} count;

// Since the process began.
static uint32_t closes[CODES], refused[STATUSES], closed_in[SECONDS], reconnect_in[SECONDS];
static uint64_t first_close, last_close, born;
static Histogram handshakes;

// CLOCK_MONOTONIC, as process.hrtime of the publishers: no clock is set between the two readings.
static uint64_t microseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what) {
  fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void load_tokens(const char *path) {
  FILE *file = fopen(path, "r");
  char *line = NULL;
  size_t size = 0;
  ssize_t length;
  if (!file) die(path);
  while ((length = getline(&line, &size, file)) > 0) {
    if (line[length - 1] == '\n') line[length - 1] = 0;
    tokens = realloc(tokens, sizeof *tokens * (size_t)(token_count + 1));
    tokens[token_count++] = strdup(line);
  }
  free(line);
  fclose(file);
}

static void watch(Connection *c, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(c - connections)};
  if (epoll_ctl(epoll, operation, c->fd, &event)) die("epoll_ctl");
}

static void report_opened(void) {
  double seconds = (double)(microseconds() - opening_since) / 1e6;
  opening = false;
  printf("{\"event\":\"opened\",\"open\":%d,\"joined\":%d,\"failed\":%d,\"seconds\":%.6f,"
         "\"handshake\":{\"p50\":%lu,\"p99\":%lu,\"max\":%lu},\"refused\":{",
         opened, joined, failed, seconds, histogram_percentile(&handshakes, 0.5),
         histogram_percentile(&handshakes, 0.99), handshakes.max);
  const char *comma = "";
  for (int status = 0; status < STATUSES; status++)
    if (refused[status]) printf("%s\"%d\":%u", comma, status, refused[status]), comma = ",";
  puts("}}");
  fflush(stdout);
}

static void settle(void) {
  if (opening && started == wanted && joined + failed >= wanted) report_opened();
}

static void end(Connection *c, int code) {
  if (c->phase == CLOSED) return;
  uint64_t now = microseconds();
  if (c->phase != OPEN) {
    handshaking--;
    failed++;
    refused[code < STATUSES ? code : 0]++;
  } else {
    if (!first_close) first_close = now;
    last_close = now;
    if ((now - born) / 1000000 < SECONDS) closed_in[(now - born) / 1000000]++;
    closes[code < CODES ? code : 0]++;
    opened--;
    if (!c->joined) failed++;
  }
  if (c->frame) c->frame->readers--;
  c->frame = NULL;
  close(c->fd);
  c->phase = CLOSED;
  settle();
}

static void open_one(void) {
  int index = started++;
  Connection *c = &connections[index];
  memset(c, 0, sizeof *c);
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) die("socket (RLIMIT_NOFILE?)");
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (option.buffer) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &option.buffer, sizeof option.buffer);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)}, from = to;
  if (inet_pton(AF_INET, option.host, &to.sin_addr) != 1) die("--host must be an IPv4 address");
  if (option.sources > 0) {
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    from.sin_port = 0;
    from.sin_addr.s_addr = htonl(0x7f000101u + (uint32_t)((option.first + index) % option.sources));
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) die("bind to 127.0.1.x");
  }
  c->began = microseconds();
  c->phase = CONNECTING;
  handshaking++;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
    end(c, 0);
    return;
  }
  watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void send_handshake(Connection *c) {
  char text[8192];
  int index = option.first + (int)(c - connections), error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    end(c, 0);
    return;
  }
  int length = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
                        option.path, option.host, option.port);
  if (option.subprotocol[0])
    length += snprintf(text + length, sizeof text - (size_t)length, "Sec-WebSocket-Protocol: %s\r\n", option.subprotocol);
  if (token_count)
    length += snprintf(text + length, sizeof text - (size_t)length, "Authorization: Bearer %s\r\n",
                       tokens[index % token_count]);
  length += snprintf(text + length, sizeof text - (size_t)length, "\r\n");
  if (send(c->fd, text, (size_t)length, MSG_NOSIGNAL) != length) {
    end(c, 0);
    return;
  }
  c->phase = HANDSHAKE;
  watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

// Frames of up to 64 KiB - 1, masked with zeros: the server has the same work, and nothing here is secret.
static void send_frame(Connection *c, uint8_t opcode, const void *payload, size_t size) {
  uint8_t out[8 + 4096];
  size_t at = 0;
  out[at++] = 0x80 | opcode;
  if (size < 126) out[at++] = (uint8_t)(0x80 | size);
  else out[at++] = 0x80 | 126, out[at++] = (uint8_t)(size >> 8), out[at++] = (uint8_t)size;
  memset(out + at, 0, 4);
  at += 4;
  if (size > 4096) size = 4096;
  memcpy(out + at, payload, size);
  if (send(c->fd, out, at + size, MSG_NOSIGNAL) < 0 && errno != EAGAIN) return;
}

static void mark_joined(Connection *c) {
  if (c->joined) return;
  c->joined = 1;
  joined++;
  settle();
}

static void greet(Connection *c) {
  char text[1024], room[256];
  int index = option.first + (int)(c - connections);
  if (option.rooms > 0) snprintf(room, sizeof room, "%s%d", option.room, index % option.rooms);
  else snprintf(room, sizeof room, "%s", option.room);
  if (option.hello) {
    // Several frames are parted by newlines; `{room}` stands for the room.
    size_t at = 0;
    for (const char *p = option.hello; *p && at < sizeof text - sizeof room;)
      if (!strncmp(p, "{room}", 6)) at += (size_t)snprintf(text + at, sizeof room, "%s", room), p += 6;
      else text[at++] = *p++;
    text[at] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) send_frame(c, OPCODE_TEXT, line, strlen(line));
  } else if (room[0]) {
    int length = snprintf(text, sizeof text, "{\"type\":\"JOIN\",\"id\":1,\"data\":{\"room\":\"%s\"}}", room);
    send_frame(c, OPCODE_TEXT, text, (size_t)length);
  }
  if (!option.ready[0]) mark_joined(c);
}

static void complete(Connection *c, Frame *frame, uint64_t now) {
  count.broken += (uint64_t)frame->broken;
  if (frame->ready) mark_joined(c);
  switch (frame->kind) {
    case FRAME_PUSH: break;
    case FRAME_LAGGED: count.lagged_frames++, count.lagged_items += frame->lagged; return;
    case FRAME_RECONNECT:
      count.reconnects++;
      if ((now - born) / 1000000 < SECONDS) reconnect_in[(now - born) / 1000000]++;
      return;
    case FRAME_ERROR: count.errors++; return;
    case FRAME_OK: return;
    default: count.other++; return;
  }
  count.frames++;
  count.items += frame->items;
  count.last_frame = now;
  if (c->mark && frame->first <= c->mark) count.disorder++;
  else if (c->mark) count.gaps += frame->first - c->mark - 1;
  if (!frame->contiguous) {
    // Marks that rise with holes are items lost before the frame was made; anything else is disorder.
    if (frame->last - frame->first + 1 > frame->items) count.gaps += frame->last - frame->first + 1 - frame->items;
    else count.disorder++;
  }
  c->mark = frame->last;
  if (c->slow) {
    count.slow_items += frame->items;
    return;
  }
  for (uint32_t i = 0; i < frame->stamps; i++)
    histogram_add(&count.latency, now > frame->stamp[i] ? now - frame->stamp[i] : 0);
}

static void control(Connection *c, uint8_t opcode, const uint8_t *payload, size_t size) {
  if (opcode == 9) {
    count.pings++;
    send_frame(c, 10, payload, size);
  } else if (opcode == 8) {
    send_frame(c, 8, payload, size < 2 ? 0 : 2);
    end(c, size < 2 ? 1005 : payload[0] << 8 | payload[1]);
  }
}

// The bytes that identify a frame: its header and the first FRAME_PREFIX bytes of its payload, or the whole payload of
// a control frame; 0 if `have` is less.
static size_t frame_start(const uint8_t *p, size_t have, size_t *header, uint64_t *length) {
  if (have < 2) return 0;
  uint64_t size = p[1] & 127;
  *header = 2;
  if (size == 126) {
    if (have < 4) return 0;
    *header = 4;
    size = (uint64_t)p[2] << 8 | p[3];
  } else if (size == 127) {
    if (have < 10) return 0;
    *header = 10;
    size = 0;
    for (int i = 2; i < 10; i++) size = size << 8 | p[i];
  }
  *length = size;
  size_t needed = *header + ((p[0] & 8) ? size : size < FRAME_PREFIX ? size : FRAME_PREFIX);
  return have < needed ? 0 : needed;
}

static void take(Connection *c, const uint8_t *bytes, size_t size, uint64_t now) {
  c->frame = frames_take(&frames, c->frame, c->offset, bytes, size);
  c->offset += size;
  if (c->offset < c->frame->length) return;
  Frame *frame = c->frame;
  c->frame = NULL;
  frame->readers--;
  complete(c, frame, now);
}

static void feed(Connection *c, const uint8_t *p, size_t n, uint64_t now) {
  while (n > 0 && c->phase == OPEN) {
    if (c->frame) {
      uint64_t left = c->frame->length - c->offset;
      size_t part = left < n ? left : n;
      take(c, p, part, now);
      p += part;
      n -= part;
      continue;
    }
    const uint8_t *start = p;
    size_t have = n, header, needed;
    uint64_t length;
    if (c->carried) {
      size_t part = n < (size_t)(CARRY - c->carried) ? n : (size_t)(CARRY - c->carried);
      memcpy(c->carry + c->carried, p, part);
      start = c->carry;
      have = c->carried + part;
    }
    needed = frame_start(start, have, &header, &length);
    if (!needed) {
      if (!c->carried) memcpy(c->carry, p, n);
      c->carried = (uint8_t)(c->carried + n);
      return;
    }
    size_t used = needed - c->carried;
    uint8_t opcode = start[0] & 15;
    if (!(start[0] & 0x80) || opcode == 0 || (start[0] & 0x70) || (start[1] & 0x80)) {
      fprintf(stderr, "client: a frame header that no server here should send: %02x %02x\n", start[0], start[1]);
      count.broken++;
      end(c, 1002);
      return;
    }
    p += used;
    n -= used;
    c->carried = 0;
    if (opcode & 8) {
      control(c, opcode, start + header, needed - header);
      continue;
    }
    c->frame = frames_find(&frames, opcode, length, start + header, (uint8_t)(needed - header));
    c->offset = 0;
    take(c, start + header, needed - header, now);
  }
}

// The answer's status line and headers, which may come in pieces; what follows them are frames already. Meanwhile
// `mark` counts bytes, `offset` is the status, and `carry` holds the last four bytes.
static void read_handshake(Connection *c, const uint8_t *p, size_t n, uint64_t now) {
  size_t rest = 0;
  int whole = 0;
  while (rest < n && !whole) {
    uint64_t at = c->mark++;
    uint8_t byte = p[rest++];
    // "HTTP/1.1 101": the status is at 9 to 11.
    if (at >= 9 && at <= 11) c->offset = c->offset * 10 + (uint64_t)(byte - '0');
    memmove(c->carry, c->carry + 1, 3);
    c->carry[3] = byte;
    whole = !memcmp(c->carry, "\r\n\r\n", 4);
  }
  if (!whole) return;
  int status = (int)c->offset;
  c->offset = c->mark = 0;
  if (status != 101) {
    end(c, status);
    return;
  }
  handshaking--;
  c->phase = OPEN;
  opened++;
  histogram_add(&handshakes, now - c->began);
  greet(c);
  feed(c, p + rest, n - rest, now);
}

static void on_event(Connection *c, uint32_t events) {
  if (c->phase == CLOSED) return;
  if (c->phase == CONNECTING) {
    send_handshake(c);
    return;
  }
  if (c->slow && !(events & (EPOLLERR | EPOLLHUP))) return;
  ssize_t n = recv(c->fd, input, sizeof input, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    end(c, c->phase == OPEN ? 1006 : 0);
    return;
  }
  uint64_t now = microseconds();
  if (c->phase == HANDSHAKE) {
    read_handshake(c, input, (size_t)n, now);
    return;
  }
  count.bytes += (uint64_t)n;
  feed(c, input, (size_t)n, now);
}

static double seconds_of(struct timeval after, struct timeval before) {
  return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_usec - before.tv_usec) / 1e6;
}

static void print_seconds(const char *name, const uint32_t *per_second) {
  int first = 0, last = SECONDS - 1;
  while (first < SECONDS && !per_second[first]) first++;
  while (last > first && !per_second[last]) last--;
  printf(",\"%s\":[", name);
  for (int i = first; first < SECONDS && i <= last; i++) printf("%s%u", i > first ? "," : "", per_second[i]);
  printf("]");
}

static void report(const char *event) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  uint64_t now = microseconds(), least = UINT64_MAX, most = 0;
  int reading = 0;
  for (int i = 0; i < started; i++) {
    Connection *c = &connections[i];
    if (c->phase != OPEN || c->slow) continue;
    reading++;
    if (c->mark < least) least = c->mark;
    if (c->mark > most) most = c->mark;
  }
  printf("{\"event\":\"%s\",\"seconds\":%.6f,\"open\":%d,\"joined\":%d,\"reading\":%d,\"frames\":%lu,\"bytes\":%lu,"
         "\"items\":%lu,\"slowItems\":%lu,\"gaps\":%lu,\"disorder\":%lu,\"lagged\":{\"frames\":%lu,\"items\":%lu},"
         "\"reconnects\":%lu,\"errors\":%lu,\"other\":%lu,\"broken\":%lu,\"pings\":%lu,\"leastMark\":%lu,"
         "\"mostMark\":%lu,\"quietMs\":%.3f,\"latency\":{\"count\":%lu,\"p50\":%lu,\"p99\":%lu,\"max\":%lu},"
         "\"cpu\":{\"user\":%.6f,\"system\":%.6f},\"closes\":{",
         event, (double)(now - count.since) / 1e6, opened, joined, reading, count.frames, count.bytes, count.items,
         count.slow_items, count.gaps, count.disorder, count.lagged_frames, count.lagged_items, count.reconnects,
         count.errors, count.other, count.broken, count.pings, reading ? least : 0, most,
         count.last_frame ? (double)(now - count.last_frame) / 1e3 : -1.0, count.latency.count,
         histogram_percentile(&count.latency, 0.5), histogram_percentile(&count.latency, 0.99), count.latency.max,
         seconds_of(usage.ru_utime, count.usage.ru_utime), seconds_of(usage.ru_stime, count.usage.ru_stime));
  const char *comma = "";
  for (int code = 0; code < CODES; code++)
    if (closes[code]) printf("%s\"%d\":%u", comma, code, closes[code]), comma = ",";
  printf("},\"closingSeconds\":%.6f", (double)(last_close - first_close) / 1e6);
  print_seconds("closesBySecond", closed_in);
  print_seconds("reconnectsBySecond", reconnect_in);
  puts("}");
  fflush(stdout);
}

static void clear(void) {
  memset(&count, 0, sizeof count);
  count.since = microseconds();
  getrusage(RUSAGE_SELF, &count.usage);
  // A stopped reader's mark stays: what it misses meanwhile shows when it reads on.
  for (int i = 0; i < started; i++)
    if (connections[i].phase == OPEN && !connections[i].slow) connections[i].mark = 0;
}

static void set_slow(int percent) {
  int slow = (int)((int64_t)started * percent / 100);
  for (int i = 0; i < started; i++) {
    Connection *c = &connections[i];
    if (c->phase != OPEN || c->slow == (i < slow)) continue;
    c->slow = i < slow;
    watch(c, EPOLL_CTL_MOD, c->slow ? 0 : EPOLLIN);
  }
}

static void open_more(int more) {
  wanted += more;
  if (wanted > capacity) {
    // Pointers into the array live only within one event.
    capacity = wanted;
    connections = realloc(connections, sizeof *connections * (size_t)capacity);
    if (!connections) die("realloc");
  }
  opening = true;
  opening_since = microseconds();
  histogram_clear(&handshakes);
  settle();
}

static void command(char *line) {
  int number = 0;
  if (sscanf(line, "more %d", &number) == 1) open_more(number);
  else if (sscanf(line, "slow %d", &number) == 1) set_slow(number), report("slow");
  else if (!strcmp(line, "start")) clear(), report("start");
  else if (!strcmp(line, "stat")) report("stat");
  else if (!strcmp(line, "close")) {
    for (int i = 0; i < started; i++) end(&connections[i], 0);
    started = wanted = joined = failed = 0;
    report("close");
  } else if (!strcmp(line, "quit")) exit(0);
  else fprintf(stderr, "client: unknown command: %s\n", line);
}

static void read_commands(void) {
  static char pending[4096];
  static size_t length;
  ssize_t n = read(0, pending + length, sizeof pending - 1 - length);
  if (n <= 0) exit(0);
  length += (size_t)n;
  pending[length] = 0;
  char *line = pending, *newline;
  while ((newline = strchr(line, '\n'))) {
    *newline = 0;
    command(line);
    line = newline + 1;
  }
  length -= (size_t)(line - pending);
  memmove(pending, line, length);
}

// Opens what the rate and the number of handshakes in flight allow now; answers ms until more may be allowed, or -1.
static int open_some(void) {
  if (started >= wanted) return -1;
  uint64_t allowed = UINT64_MAX;
  static uint64_t begun_at, begun;
  if (option.rate > 0) {
    uint64_t now = microseconds();
    if (begun_at != opening_since) begun_at = opening_since, begun = 0;
    allowed = 1 + (now - opening_since) * (uint64_t)option.rate / 1000000 - begun;
  }
  while (started < wanted && handshaking < option.inflight && allowed-- > 0) open_one(), begun++;
  return started >= wanted ? -1 : option.rate > 0 ? 1 : 1000;
}

static void parse_options(int argc, char **argv) {
  struct {
    const char *name;
    const char **text;
    int *number;
  } known[] = {
      {"host", &option.host, NULL},     {"path", &option.path, NULL},     {"subprotocol", &option.subprotocol, NULL},
      {"room", &option.room, NULL},     {"hello", &option.hello, NULL},   {"ready", &option.ready, NULL},
      {"tokens", &option.tokens, NULL}, {"port", NULL, &option.port},     {"connections", NULL, &option.connections},
      {"rate", NULL, &option.rate},     {"inflight", NULL, &option.inflight}, {"sources", NULL, &option.sources},
      {"rooms", NULL, &option.rooms},   {"first", NULL, &option.first},   {"buffer", NULL, &option.buffer},
  };
  for (int i = 1; i < argc; i += 2) {
    size_t k = 0, kinds = sizeof known / sizeof *known;
    while (k < kinds && (strncmp(argv[i], "--", 2) || strcmp(argv[i] + 2, known[k].name))) k++;
    if (k == kinds || i + 1 == argc) {
      fprintf(stderr, "client: unknown option, or one without a value: %s\n", argv[i]);
      exit(2);
    }
    if (known[k].text) *known[k].text = argv[i + 1];
    else *known[k].number = atoi(argv[i + 1]);
  }
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (option.tokens) load_tokens(option.tokens);
  frames.ready = option.ready;
  epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
  born = microseconds();
  clear();
  if (option.connections) open_more(option.connections);
  static struct epoll_event events[EVENTS];
  for (;;) {
    int n = epoll_wait(epoll, events, EVENTS, open_some());
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      if (events[i].data.u32 == UINT32_MAX) continue;
      on_event(&connections[events[i].data.u32], events[i].events);
    }
    for (int i = 0; i < n; i++)
      if (events[i].data.u32 == UINT32_MAX) read_commands();
  }
}
