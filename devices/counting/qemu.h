/* The part of QEMU's plugin interface that the counter uses, written from its documentation: QEMU's packages have no
 * header. PAMC_QEMU_API is the version of the interface: 1 for QEMU 6 to 8, 3 for 9.1 and later. */
#ifndef PAMC_QEMU_H
#define PAMC_QEMU_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

typedef void (*qemu_tb_translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*qemu_tb_executed)(unsigned cpu, void *given);
typedef void (*qemu_system_call)(qemu_plugin_id_t, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                                 uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, qemu_tb_translated);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, qemu_tb_executed, enum qemu_plugin_cb_flags,
                                          void *given);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, qemu_system_call);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
#if PAMC_QEMU_API >= 3
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *to, size_t bytes);
#else
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#endif

#endif
