#include "tests/unit/clients/cpp/c_program.h"

#include <stdio.h>
#include <string.h>

typedef struct program {
  c_program_seen seen;
  sluice_client* client;
  int64_t cancel_at;
} program;

/* Longer than the first buffer, so that it is asked for again with more room. */
static size_t token(void* context, char* buffer, size_t size) {
  program* self = context;
  const size_t length = 2000;
  if (size >= length) {
    memset(buffer, 'x', length);
    self->seen.tokens++;
  }
  return length;
}

static size_t no_token(void* context, char* buffer, size_t size) {
  (void)context;
  (void)buffer;
  (void)size;
  return 0;
}

static void on_progress(void* context, const sluice_pull_progress* progress) {
  program* self = context;
  self->seen.progress++;
  self->seen.rows_total = progress->rows_total;
}

static void on_checkpoint(void* context, const sluice_pull_result* result) {
  program* self = context;
  self->seen.checkpoints++;
  self->seen.last_position = result->position;
  if (result->position >= self->cancel_at) {
    sluice_client_cancel(self->client);
  }
}

static sluice_client_options options_for(program* self, const char* url, const char* org,
                                         const char* db_path) {
  sluice_client_options options;
  sluice_client_options_init(&options);
  options.url = url;
  options.org = org;
  options.db_path = db_path;
  options.token = token;
  options.token_context = self;
  options.attempts_max = 2;
  options.backoff_first_ms = 1;
  return options;
}

static c_program_seen finish(program* self, sluice_code code) {
  self->seen.code = code;
  snprintf(self->seen.error_code, sizeof(self->seen.error_code), "%s",
           sluice_client_error_code(self->client));
  snprintf(self->seen.error_message, sizeof(self->seen.error_message), "%s",
           sluice_client_error_message(self->client));
  sluice_client_close(self->client);
  return self->seen;
}

c_program_seen c_program_pull(const char* url, const char* org, const char* db_path) {
  program self = {0};
  const sluice_client_options options = options_for(&self, url, org, db_path);
  sluice_code code = sluice_client_open(&options, &self.client);
  if (code == SLUICE_OK) {
    sluice_client_on_progress(self.client, on_progress, &self);
    code = sluice_client_pull(self.client, &self.seen.result);
  }
  return finish(&self, code);
}

c_program_seen c_program_follow(const char* url, const char* org, const char* db_path,
                                int64_t cancel_at) {
  program self = {0};
  self.cancel_at = cancel_at;
  const sluice_client_options options = options_for(&self, url, org, db_path);
  sluice_code code = sluice_client_open(&options, &self.client);
  if (code == SLUICE_OK) {
    code = sluice_client_follow(self.client, on_checkpoint, &self);
  }
  return finish(&self, code);
}

c_program_seen c_program_wipe(const char* url, const char* org, const char* db_path) {
  program self = {0};
  const sluice_client_options options = options_for(&self, url, org, db_path);
  sluice_code code = sluice_client_open(&options, &self.client);
  sluice_client* const client = self.client;
  c_program_seen seen;
  self.seen.wiped = SLUICE_INTERNAL;
  if (code == SLUICE_OK) {
    code = sluice_client_pull(client, NULL);
  }
  if (code == SLUICE_REVOKED) {
    snprintf(self.seen.error_code, sizeof(self.seen.error_code), "%s",
             sluice_client_error_code(client));
    self.seen.wiped = sluice_client_wipe(client);
    if (self.seen.wiped == SLUICE_OK) {
      self.seen.wiped = sluice_client_wipe(client); /* a second time is no error */
    }
    self.seen.after_wipe = sluice_client_pull(client, NULL);
  }
  seen = self.seen;
  seen.code = code;
  sluice_client_close(client);
  return seen;
}

#define EXPECT(condition) \
  if (!(condition)) {     \
    return __LINE__;      \
  }

int c_program_misuse(const char* url, const char* db_path) {
  program self = {0};
  sluice_client* client = NULL;
  sluice_client* second = NULL;
  sluice_client_options options = options_for(&self, url, "acme", db_path);

  EXPECT(sluice_client_open(&options, NULL) == SLUICE_INVALID);
  EXPECT(sluice_client_open(NULL, &client) == SLUICE_INVALID);
  EXPECT(client != NULL && strcmp(sluice_client_error_code(client), "invalid_argument") == 0);
  EXPECT(sluice_client_pull(client, NULL) == SLUICE_INVALID);
  EXPECT(sluice_client_follow(client, NULL, NULL) == SLUICE_INVALID);
  EXPECT(sluice_client_wipe(client) == SLUICE_INVALID);
  sluice_client_cancel(client);
  sluice_client_on_progress(client, NULL, NULL);
  sluice_client_close(client);

  options.struct_size = 8;
  EXPECT(sluice_client_open(&options, &client) == SLUICE_INVALID);
  sluice_client_close(client);
  options = options_for(&self, url, "acme", db_path);
  options.token = NULL;
  EXPECT(sluice_client_open(&options, &client) == SLUICE_INVALID);
  sluice_client_close(client);
  options = options_for(&self, url, "acme", db_path);
  options.backoff_max_ms = 0;
  EXPECT(sluice_client_open(&options, &client) == SLUICE_INVALID);
  sluice_client_close(client);

  options = options_for(&self, url, "acme", db_path);
  options.token = no_token;
  EXPECT(sluice_client_open(&options, &client) == SLUICE_OK);
  EXPECT(strcmp(sluice_client_error_code(client), "") == 0);
  EXPECT(sluice_client_open(&options, &second) == SLUICE_FILE);
  EXPECT(strcmp(sluice_client_error_code(second), "database_in_use") == 0);
  sluice_client_close(second);
  EXPECT(sluice_client_pull(client, NULL) == SLUICE_REFUSED);
  EXPECT(strcmp(sluice_client_error_code(client), "no_token") == 0);
  sluice_client_close(client);

  sluice_client_close(NULL);
  sluice_client_cancel(NULL);
  EXPECT(sluice_client_pull(NULL, NULL) == SLUICE_INVALID);
  EXPECT(sluice_client_wipe(NULL) == SLUICE_INVALID);
  EXPECT(strcmp(sluice_client_error_message(NULL), "") == 0);
  EXPECT(strchr(sluice_client_version(), '.') != NULL);
  return 0;
}
