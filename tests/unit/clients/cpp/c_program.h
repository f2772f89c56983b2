#ifndef SLUICE_TESTS_C_PROGRAM_H_
#define SLUICE_TESTS_C_PROGRAM_H_

/* An application in C11 that uses the C interface as its README says. */

#include "clients/cpp/sluice_client.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct c_program_seen {
  sluice_code code;
  char error_code[64];
  char error_message[512];
  sluice_pull_result result;
  int tokens;
  int progress;
  uint64_t rows_total;
  int checkpoints;
  int64_t last_position;
  sluice_code wiped;
  sluice_code after_wipe; /* of a pull */
} c_program_seen;

/* Opens, pulls and closes. */
c_program_seen c_program_pull(const char* url, const char* org, const char* db_path);
/* Opens, follows until `cancel_at` is complete, and closes. */
c_program_seen c_program_follow(const char* url, const char* org, const char* db_path,
                                int64_t cancel_at);
/* Pulls, wipes where that is demanded, and closes. The code and error are those of the pull. */
c_program_seen c_program_wipe(const char* url, const char* org, const char* db_path);
/* Wrong uses; 0 where each was answered as the header says, else the line of the first that wasn't.
 */
int c_program_misuse(const char* url, const char* db_path);

#ifdef __cplusplus
}
#endif

#endif /* SLUICE_TESTS_C_PROGRAM_H_ */
