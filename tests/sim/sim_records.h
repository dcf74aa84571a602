/* Programs that write to all topics, and programs that read all of them. */
#ifndef SP_SIM_RECORDS_H
#define SP_SIM_RECORDS_H

/* The main function of a producer; `arg` is its struct sim_client. */
void sim_producer_main(void *arg);

/* The same of a consumer that reads every partition from its start, without a group. */
void sim_consumer_main(void *arg);

#endif /* SP_SIM_RECORDS_H */
