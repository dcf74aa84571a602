/* Programs that make topics, and that make and delete some which nobody uses. */
#ifndef SP_SIM_TOPICS_H
#define SP_SIM_TOPICS_H

/* The main function of the program that makes the topics of the seed; `arg` is its struct
 * sim_client. */
void sim_topics_main(void *arg);

/* The same of one that creates and deletes topics of its own, again and again. */
void sim_churner_main(void *arg);

#endif /* SP_SIM_TOPICS_H */
